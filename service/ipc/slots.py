"""Shared memory between frontends and a worker: the pixels of one image in, its logits out, one slot per image."""

import mmap
import os

import numpy as np
from numpy.typing import NDArray

from service.ipc.messages import UseSlots

_ALIGNMENT = 64  # a cache line: two slots never share one


class Slots:
    """`count` slots in one anonymous memory file.

    A memory file (memfd_create(2)) has no name: it goes with its last process, so nothing can leak, and a full
    /dev/shm does not touch it. Pages are taken when first written, so slots that are never used cost nothing.

    Attributes:
        shape: as the other side needs it.
        images: uint8 [count, height, width, 3], written by the frontend.
        logits: float32 [count, classes], written by the worker.
        started: bool [count], set by the worker just before it runs the image, so that after a crash we know which
            images were running.
    """

    def __init__(self, fd: int, shape: UseSlots) -> None:
        """Map the memory file `fd`, which belongs to the slots from now on."""
        count, height, width, classes = shape.count, shape.height, shape.width, shape.classes
        image = height * width * 3
        stride = _stride(height, width, classes)
        self.fd = fd
        self.shape = shape
        self.count = count
        memory = mmap.mmap(fd, stride * count + count)
        block = np.frombuffer(memory, dtype=np.uint8, count=stride * count).reshape(count, stride)
        self.started: NDArray[np.bool_] = np.frombuffer(memory, dtype=np.bool_, offset=stride * count)
        self.images: NDArray[np.uint8] = np.lib.stride_tricks.as_strided(
            block, shape=(count, height, width, 3), strides=(stride, width * 3, 3, 1)
        )
        self.logits: NDArray[np.float32] = np.lib.stride_tricks.as_strided(
            block[:, _aligned(image) :].view(np.float32), shape=(count, classes), strides=(stride, 4)
        )

    @classmethod
    def create(cls, count: int, height: int, width: int, classes: int) -> "Slots":
        """Make a new memory file, inheritable by the workers that are handed its descriptor."""
        fd = os.memfd_create("resserve-slots", os.MFD_CLOEXEC)
        os.ftruncate(fd, _stride(height, width, classes) * count + count)
        return cls(fd, UseSlots(count, height, width, classes))

    def close(self) -> None:
        """Close the memory file. Its pages go when the last array that looks at them does."""
        os.close(self.fd)


def _stride(height: int, width: int, classes: int) -> int:
    return _aligned(height * width * 3) + _aligned(classes * 4)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
