"""Encoded images to pixels the right way up, and pixels of every mode to RGB."""

import io
import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from PIL.Image import Transpose

from resserve.images.errors import ImageError, TooLargeError
from resserve.images.formats import FORMATS
from resserve.images.header import Header
from resserve.images.jpeg import check_exif, may_be_turned

# Pillow warns once for every odd tag of a file: lines on stderr that a caller could write by the thousand.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

Pixels = Image.Image | NDArray[np.uint8]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def load(data: bytes, header: Header, max_pixels: int) -> Pixels:
    """The pixels the right way up, in whatever mode; an array is RGB."""
    if header.format == "JPEG":
        pixels = _load_jpeg(data)
        if pixels is not None:
            return pixels
    image = FORMATS[header.format].open(io.BytesIO(data))
    if image.width * image.height > max_pixels:
        # A GIF's frame may be larger than its screen.
        raise TooLargeError(f"The image has {image.width} x {image.height} pixels; only {max_pixels:,} are accepted.")
    image.load()
    return _upright(image, image)


def _load_jpeg(data: bytes) -> Pixels | None:
    """RGB without Pillow's copies; None for what is Pillow's to judge: CMYK, and data that is not all in order."""
    try:
        *_, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace in ("CMYK", "YCCK"):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:
        return None
    if not may_be_turned(data):
        return pixels
    return _upright(Image.fromarray(pixels), JpegImagePlugin.JpegImageFile(io.BytesIO(data)))


def _upright(image: Image.Image, described: Image.Image) -> Image.Image:
    """Turn by the other's EXIF orientation (or XMP's, as Pillow reads it where EXIF has none)."""
    info = described.info
    check_exif(len(info.get("exif", b"")) + len(info.get("Raw profile type exif", "")) // 2)
    method = _UPRIGHT.get(described.getexif().get(_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB as Pillow's `convert` has it (alpha dropped), but 16-bit grey by its high byte instead of clipped at 255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ImageError("The image has 32-bit pixels, whose white is undefined; send 8 or 16 bits per channel.")
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")
