"""Inputs of a model: anything that can write itself into a slot."""

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resserve.images.errors import ImageError
from resserve.images.errors import TooLargeError as ImageTooLargeError
from resserve.images.header import check
from resserve.manifest import InputSpec
from service.errors import InvalidRequestError, TooLargeError
from service.images.decode import decode

# Images of so few pixels and bytes decode sooner than they could be handed to a thread: 0.08 ms against 0.3 ms.
_AT_ONCE_PIXELS = 64 * 64
_AT_ONCE_BYTES = 256 * 1024

# Nobody else waits for the event loop where an image is alone: it need not wake a thread, nor the thread the loop. That
# takes 0.4 ms where cores have gone to sleep; larger images take so long that others would come to wait.
_ALONE_PIXELS = 2**19


class Input(Protocol):
    """One input of a model, checked as far as that is cheap."""

    @property
    def size(self) -> int:
        """Bytes that it holds while it waits."""

    def digest(self) -> bytes:
        """SHA-256 of its content, by which an input that ends workers is known again."""

    def is_quick(self, *, alone: bool) -> bool:
        """Whether `write` is sooner done than handed to a thread; `alone`: nothing else waits for the event loop."""

    def write(self, out: NDArray[np.uint8]) -> bool:
        """Write the pixels into a slot, uint8 [height, width, 3]; whether something had to be mended for that.

        Raises:
            InvalidRequestError: its content is corrupt; `out` is then undefined.
        """


class EncodedImage:
    """An image file: JPEG, PNG and the other formats of `service.images`."""

    def __init__(self, data: bytes, spec: InputSpec) -> None:
        """Read the header.

        Args:
            data: the file.
            spec: how the model's pixels are made of it.

        Raises:
            InvalidRequestError: it is no image, or one that must not be decoded.
        """
        self._data, self._spec = data, spec
        try:
            self._header = check(data)
        except ImageError as error:
            kind, sentence = _kind(error), str(error)
        else:
            return
        # Raised here, as an error raised in the handler refers to the first one, to its traceback, to the frames
        # in it and so to the image, which would not be freed. A variable for the error would do the same.
        raise kind(sentence)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._data)

    def digest(self) -> bytes:
        """SHA-256 of the file."""
        return hashlib.sha256(self._data).digest()

    def is_quick(self, *, alone: bool) -> bool:
        """Whether it has few pixels."""
        pixels = self._header.width * self._header.height
        return self.size <= _AT_ONCE_BYTES and pixels <= (_ALONE_PIXELS if alone else _AT_ONCE_PIXELS)

    def write(self, out: NDArray[np.uint8]) -> bool:
        """Decode, resize and crop into `out`; whether the file lacked its last bytes.

        Raises:
            InvalidRequestError: the file is corrupt or truncated.
        """
        spec = self._spec
        try:
            return decode(
                self._data,
                out,
                header=self._header,
                resize=spec.resize,
                interpolation=spec.interpolation,
                background=spec.background,
            )
        except ImageError as error:
            kind, sentence = _kind(error), str(error)
        raise kind(sentence)  # here, as above


def _kind(error: ImageError) -> type[InvalidRequestError]:
    return TooLargeError if isinstance(error, ImageTooLargeError) else InvalidRequestError
