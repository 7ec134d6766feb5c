"""What an image file says of itself, read without decoding: enough to refuse what must not be decoded."""

from dataclasses import dataclass

from resserve.images.errors import ImageError, TooLargeError, as_image_error
from resserve.images.formats import FORMATS, identify

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says of itself before decoding; width and height in pixels, as stored (before orientation)."""

    format: str
    width: int
    height: int


def check(data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header alone and refuse what must not be decoded.

    Raises:
        ImageError: no data, too many bytes or pixels, an unknown format, or a broken header.
    """
    if not data:
        raise ImageError("The image is empty; send the bytes of an image file.")
    check_bytes(len(data), max_bytes)
    name = identify(data)
    with as_image_error(name):
        width, height = FORMATS[name].size(data)
    if width < 1 or height < 1:
        raise ImageError(f"The {name} image says that it has {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooLargeError(f"The image has {width} x {height} pixels; at most {max_pixels:,} are accepted.")
    return Header(name, width, height)


def check_bytes(size: int, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a file by its length alone.

    Raises:
        TooLargeError: saying the length and the limit.
    """
    if size > max_bytes:
        raise TooLargeError(f"The image has {size:,} bytes; at most {max_bytes:,} are accepted.")
