"""Shared memory, through which processes that read images hand them over: whether there is enough of it."""

import os
from pathlib import Path

from resserve.errors import ResServeError

_FOLDER = Path("/dev/shm")
_BATCHES_AHEAD = 2  # of each worker: PyTorch's prefetch_factor

ADVICE = "give a container more by --shm-size=1g (Kubernetes: an emptyDir of medium Memory there), or use --workers 0"


def check_shared_memory(*, workers: int, batch_bytes: int) -> None:
    """Refuse to read with workers where their batches would not fit: the system ends what writes beyond the space.

    Args:
        workers: processes that read images; none need no shared memory.
        batch_bytes: of one batch of images.

    Raises:
        ResServeError: it cannot be written, or is too small.
    """
    if not workers:
        return
    try:
        status = os.statvfs(_FOLDER)
        writable = os.access(_FOLDER, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ResServeError(f"Shared memory ({_FOLDER}), which --workers need, cannot be written; {ADVICE}.")
    free, need = status.f_bavail * status.f_frsize, (_BATCHES_AHEAD * workers + 1) * batch_bytes
    if free < need:
        raise ResServeError(
            f"Shared memory ({_FOLDER}) has {_mib(free)} MiB free, and {workers} workers need {_mib(need)}; {ADVICE}."
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"
