"""Encoded images to pixels the right way up, and pixels of every mode to RGB."""

import io
import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from PIL.Image import Transpose
from PIL.PpmImagePlugin import PpmImageFile

from resserve.errors import ResServeError
from resserve.images import jpeg, netpbm
from resserve.images.errors import ImageError, TooLargeError, as_image_error
from resserve.images.formats import FORMATS
from resserve.images.header import MAX_PIXELS, Header, check, check_bytes

# Pillow warns once for every odd tag of a file: lines on stderr that a caller could write by the thousand.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

Pixels = Image.Image | NDArray[np.uint8]
Colour = tuple[int, int, int]


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        pixels: the right way up, in whatever mode; an array is RGB, uint8 [height, width, 3].
        mended: a JPEG lacked its end, although every pixel was there: the last bytes of its file were cut off.
    """

    pixels: Pixels
    mended: bool = False


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


def load(data: bytes, header: Header, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image that `check` has accepted.

    Raises:
        ImageError: its pixels are more than the header said.
        Exception: of whatever kind the decoder raises; `as_image_error` turns it into an ImageError.
    """
    if header.format == "JPEG":
        return _load_jpeg(data, max_pixels)
    image = FORMATS[header.format].open(io.BytesIO(data))
    _check_pixels(image.width, image.height, max_pixels)  # a GIF's frame may be larger than its screen
    if isinstance(image, PpmImageFile):
        return Picture(netpbm.load(image, data))
    image.load()
    return Picture(_upright(image, image))


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise TooLargeError(f"The image has {width} x {height} pixels; only {most:,} are accepted.")


def _load_jpeg(data: bytes, max_pixels: int) -> Picture:
    pixels, mended = _decode_strictly(data, "RGB", max_pixels), False
    if pixels is None and jpeg.lacks_only_its_end(data):
        whole = data + jpeg.END
        pixels = _decode_strictly(whole, "RGB", max_pixels)
        mended = pixels is not None or _decode_strictly(whole, "CMYK", max_pixels) is not None
        data = whole if mended else data
    if pixels is not None and not jpeg.may_be_turned(data):
        return Picture(pixels, mended)
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    if pixels is not None:
        return Picture(_upright(Image.fromarray(pixels), image), mended)
    _check_pixels(image.width, image.height, max_pixels)
    image.load()
    return Picture(_upright(image, image), mended)


def _decode_strictly(data: bytes, colours: Literal["RGB", "CMYK"], max_pixels: int) -> NDArray[np.uint8] | None:
    """Decode without Pillow's copies; None where libjpeg warns, and for pictures of other colours."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_pixels(width, height, max_pixels)
        if (colorspace in ("CMYK", "YCCK")) != (colours == "CMYK"):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours)
    except TooLargeError:  # libjpeg reads another header than the check did
        raise
    except ValueError:
        return None
    return pixels


def _upright(image: Image.Image, described: Image.Image) -> Image.Image:
    """Turn by the other's EXIF orientation (or XMP's, as Pillow reads it where EXIF has none)."""
    info = described.info
    jpeg.check_exif(len(info.get("exif", b"")) + len(info.get("Raw profile type exif", "")) // 2)
    method = _UPRIGHT.get(described.getexif().get(_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def to_rgb(pixels: Pixels, background: Colour | None = None) -> Image.Image:
    """RGB as Pillow's `convert` has it, but 16-bit grey by its high byte instead of clipped at 255.

    Args:
        pixels: in whatever mode.
        background: RGB, from 0 to 255, to lay transparent pixels over; None drops alpha and shows the colours below it.

    Raises:
        ImageError: what is white is not defined.
    """
    if not isinstance(pixels, Image.Image):
        return Image.fromarray(pixels)
    image = pixels
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ImageError("The image has 32-bit pixels, whose white is undefined; send 8 or 16 bits per channel.")
    if background is not None and image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")


def read(path: Path, background: Colour | None = None) -> tuple[Image.Image, bool]:
    """Read a file as the service reads what is sent to it: what is accepted here is answered there.

    Args:
        path: the file.
        background: as in `to_rgb`.

    Returns:
        The picture upright, as 8-bit RGB, and whether it was mended (see `Picture`).

    Raises:
        ResServeError: it cannot be read or decoded; the message is the path with the reason in brackets.
    """
    try:
        check_bytes(path.stat().st_size)
        data = path.read_bytes()
        header = check(data)
        with as_image_error(header.format):
            picture = load(data, header)
            return to_rgb(picture.pixels, background), picture.mended
    except (OSError, ImageError) as error:
        reason = getattr(error, "strerror", None) or str(error).removesuffix(".")
        raise ResServeError(f"{path} ({reason}).") from None
