"""What callers may hand over as an image, and the bytes that are sent for it."""

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from resserve.errors import InvalidInputError

Image = str | os.PathLike[str] | bytes | PillowImage.Image | npt.NDArray[np.uint8]
"""A path, an encoded image file's bytes, a Pillow image, or RGB pixels as a uint8 array [height, width, 3]."""

ONE_IMAGE = (str, os.PathLike, bytes, PillowImage.Image, np.ndarray)
"""The types of one image: text and bytes too, although Python calls them sequences."""

_PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}


def encode(image: Image) -> bytes:
    """The bytes to send: files as they are, pixels losslessly as PNG (as TIFF where PNG lacks the mode, like CMYK).

    Raises:
        InvalidInputError: the file cannot be read, or the array is not uint8 [height, width, 3].
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, PillowImage.Image):
        return _encode_pixels(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InvalidInputError(
                f"An array must hold RGB pixels as uint8 [height, width, 3]; this one is {image.dtype} "
                f"{list(image.shape)}."
            )
        return _encode_pixels(PillowImage.fromarray(image))
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"Cannot read {os.fspath(image)}: {error.strerror}.") from None


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
