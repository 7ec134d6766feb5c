"""What callers may hand over as an image, and the bytes that are sent for it."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from resserve.errors import InputTypeError, InvalidInputError


class _Readable(Protocol):
    def read(self) -> bytes: ...


Image = str | os.PathLike[str] | bytes | bytearray | memoryview | _Readable | PillowImage.Image | npt.NDArray[np.uint8]
"""A path, an encoded image file's bytes, a binary file, a Pillow image, or RGB pixels, uint8 [height, width, 3]."""

ACCEPTED = (
    "a path, the bytes of an image file, a file opened in binary, a Pillow image, or RGB pixels as a NumPy array or "
    "CPU tensor, uint8 [height, width, 3]"
)

_PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}


def is_image(value: object) -> TypeGuard[Image]:
    """Whether this is one image, or meant to be: text, bytes, files, arrays and tensors are sequences, too."""
    types = (str, bytes, bytearray, memoryview, os.PathLike, PillowImage.Image)
    if isinstance(value, types) or hasattr(value, "read"):
        return True
    # An array of texts or objects, or pandas' column of them, holds several.
    return hasattr(value, "__array__") and getattr(getattr(value, "dtype", None), "kind", "") not in ("O", "U", "S")


def check_several(images: object) -> None:
    """Refuse what cannot be gone through for images.

    Raises:
        InputTypeError: it is one image, or none at all.
    """
    iterable = hasattr(images, "__iter__") or hasattr(images, "__aiter__")
    if is_image(images) or isinstance(images, Mapping) or not iterable:
        raise InputTypeError(f"Several images are asked for, not a {_name(images)}: give a list, each item {ACCEPTED}.")


def encode(image: Image) -> bytes:
    """The bytes to send: files as they are, pixels losslessly as PNG (as TIFF where PNG lacks the mode, like CMYK).

    Raises:
        InputTypeError: this is no image, or an array that is not uint8 [height, width, 3] (or, encoded, [bytes]).
        InvalidInputError: the file cannot be read.
    """
    # NumPy's own text and bytes are arrays, too.
    if isinstance(image, (str, os.PathLike)):
        return _read(Path(image), os.fspath(image))
    if isinstance(image, (bytes, bytearray)) or (isinstance(image, memoryview) and image.ndim < 2):
        return bytes(image)
    if isinstance(image, PillowImage.Image):
        return _encode_pixels(image)
    if isinstance(image, memoryview) or hasattr(image, "__array__"):
        return _encode_array(image)
    if hasattr(image, "read"):
        return _read(image, getattr(image, "name", "the file"))
    raise InputTypeError(f"A {_name(image)} is no image: give {ACCEPTED}.")


def _read(file: Path | _Readable, name: object) -> bytes:
    try:
        data: Any = file.read_bytes() if isinstance(file, Path) else file.read()
    except OSError as error:
        raise InvalidInputError(f"Cannot read {name}: {error.strerror or error}.") from None
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputTypeError(f"Reading the {_name(file)} gave {_name(data)} instead of bytes: open the file with 'rb'.")
    return bytes(data)


def _encode_array(image: Any) -> bytes:
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of a GPU, or with gradients
        raise InputTypeError(f"This {_name(image)} is no array ({error}): give {ACCEPTED}.") from None
    if array.dtype == np.uint8 and array.ndim == 1:  # as cv2.imencode and np.fromfile have it
        return array.tobytes()
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        first = "; move the channels last" if array.ndim == 3 and array.shape[0] == 3 else ""
        raise InputTypeError(
            f"An array must hold RGB pixels as uint8 [height, width, 3]; this one is {array.dtype} "
            f"{list(array.shape)}{first}."
        )
    return _encode_pixels(PillowImage.fromarray(array))


def _name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _encode_pixels(image: PillowImage.Image) -> bytes:
    file = io.BytesIO()
    try:
        image = ImageOps.exif_transpose(image)  # PNG drops the orientation that a file would carry
        if image.mode in _PNG_MODES:
            image.save(file, "PNG", compress_level=1)  # the fastest: the bytes are read once, and soon
        else:
            image.save(file, "TIFF")
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"Cannot encode this {image.mode} image: {error}.") from None
    return file.getvalue()
