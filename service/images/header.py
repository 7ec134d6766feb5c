"""What an image file says of itself, read without decoding: enough to refuse what must not be decoded."""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import simplejpeg
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000

# Bounds that no encoder reaches: beyond them Pillow's parsers, which are Python, cost seconds or gigabytes.
_MAX_EXIF_BYTES = (
    2**16
)  # each tag's bytes are copied, and all tags may name the same ones; a JPEG segment holds no more
_MAX_JPEG_MARKERS = 1000
_MAX_JPEG_JUNK = 2**16  # bytes between segments
_MAX_JPEG_WORK = 10**9  # pixels times scans: libjpeg works through all pixels once per scan; encoders write about 10
_USUAL_JPEG_SCANS = 20
_MAX_PNG_CHUNKS = 2**16
_MAX_PNG_TEXTS = 32  # that may be compressed, each to be inflated by Pillow to up to 1 MiB; a small image has them too
_MAX_GIF_BLOCKS = 4096  # before the first picture; a comment grows by copying
_MAX_TIFF_TAGS = 500
_MAX_TIFF_VALUES = 2**16  # of one numeric tag, such as an offset per strip

_APP1 = 0xE1  # where EXIF and XMP are
_SOS = 0xDA
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


class ImageError(ValueError):
    """The caller's image cannot be used. The message is one sentence that says why."""


class TooLargeError(ImageError):
    """Too many bytes or pixels: refused from the header."""


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
    if len(data) > max_bytes:
        raise TooLargeError(f"The image has {len(data):,} bytes; at most {max_bytes:,} are accepted.")
    name = _identify(data)
    with as_image_error(name):
        width, height = FORMATS[name].size(data)
    if width < 1 or height < 1:
        raise ImageError(f"The {name} image says that it has {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooLargeError(f"The image has {width} x {height} pixels; at most {max_pixels:,} are accepted.")
    return Header(name, width, height)


@contextmanager
def as_image_error(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into ImageError: Pillow's plugins raise a dozen kinds on hostile bytes."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ImageError(f"The {name} image is corrupt or truncated ({reason}).") from None


def check_exif(size: int) -> None:
    """Refuse an EXIF block of so many bytes before Pillow parses it, in time and memory that grow with its square."""
    if size > _MAX_EXIF_BYTES:
        raise ImageError(f"The image's EXIF block has {size:,} bytes; at most {_MAX_EXIF_BYTES:,} are accepted.")


def _jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, stop) of the segments before the first scan, and of its header last (ITU T.81, B.1)."""
    segments = []
    position, junk = 2, 0
    for _ in range(_MAX_JPEG_MARKERS):
        found = data.index(b"\xff", position)
        junk += found - position
        marker = data[found + 1]
        position = found + (1 if marker == 0xFF else 2)
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:  # no segment
            continue
        length = int.from_bytes(data[position : position + 2])
        segments.append((marker, position + 2, position + length))
        if marker == _SOS and junk <= _MAX_JPEG_JUNK:
            return segments
        position += length
    raise ValueError("no scan where one should be")


def may_be_turned(jpeg: bytes) -> bool:
    """Whether a JPEG has a segment that could hold an orientation."""
    return any(marker == _APP1 for marker, _, _ in _jpeg_segments(jpeg))


def _jpeg_size(data: bytes) -> tuple[int, int]:
    segments = _jpeg_segments(data)
    check_exif(sum(stop - start for marker, start, stop in segments if data[start : start + 4] == b"Exif"))
    components = max((data[start + 5] for marker, start, _ in segments if marker in _SOF), default=0)
    progressive = any(marker in _PROGRESSIVE for marker, _, _ in segments)
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    _, start, _ = segments[-1]
    scans = data.count(b"\xff\xda", start - 4) if progressive or data[start] < components else 1
    if scans > max(_USUAL_JPEG_SCANS, _MAX_JPEG_WORK // (width * height)):
        raise ImageError(f"The JPEG image has {scans} scans, too many for {width} x {height} pixels; save it again.")
    return width, height


def _png_size(data: bytes) -> tuple[int, int]:
    position, texts = 8, 0
    for _ in range(_MAX_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        texts += kind in (b"zTXt", b"iTXt", b"iCCP")
        if texts > _MAX_PNG_TEXTS:
            raise ValueError(f"more than {_MAX_PNG_TEXTS} compressed texts and profiles")
        if kind == b"IEND" or position >= len(data):
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
    raise ValueError(f"more than {_MAX_PNG_CHUNKS:,} chunks")


def _gif_size(data: bytes) -> tuple[int, int]:
    """GIF89a, sections 17 to 26: screen, colour table, extensions in blocks of up to 255 bytes, picture."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    inside = False  # an extension, which ends with an empty block
    for _ in range(_MAX_GIF_BLOCKS):
        if not inside:
            if data[position] != 0x21:
                break
            position += 2
        inside = data[position] > 0
        position += 1 + data[position]
    else:
        raise ValueError(f"more than {_MAX_GIF_BLOCKS:,} blocks before its picture")
    if data[position] != 0x2C:
        raise ValueError("no picture where one should be")
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    if data[14] == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        raise ImageError("The BMP image is run-length encoded; save it as PNG.")
    return width, abs(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    """RFC 9649, sections 2.5 to 2.7: lossy, lossless, or extended, whose canvas may hold an animation."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    raise ValueError("no VP8 chunk")


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Pillow reads every tag's bytes and lists a tag's values: bound both first (TIFF 6.0, section 2; BigTIFF)."""
    order = "<" if data[:1] == b"I" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        (offset,) = struct.unpack_from(order + "Q", data, 8)
        (entries,) = struct.unpack_from(order + "Q", data, offset)
        first, layout = offset + 8, struct.Struct(order + "HHQ8x")
    else:
        (offset,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, offset)
        first, layout = offset + 2, struct.Struct(order + "HHI4x")
    if entries > _MAX_TIFF_TAGS:
        raise ValueError(f"more than {_MAX_TIFF_TAGS} tags")
    total = 0
    for _, kind, count in layout.iter_unpack(data[first : first + entries * layout.size]):
        size = TiffImagePlugin.ImageFileDirectory_v2._load_dispatch.get(kind, (0,))[0]
        total += size * count
        if (size > 1 and count > _MAX_TIFF_VALUES) or total > len(data):
            raise ValueError("its tags are larger than the file")
    return TiffImagePlugin.TiffImageFile(io.BytesIO(data)).size


class _Format(NamedTuple):
    size: Callable[[bytes], tuple[int, int]]
    open: Callable[[Any], Image.Image]


FORMATS = {
    "JPEG": _Format(_jpeg_size, JpegImagePlugin.JpegImageFile),
    "PNG": _Format(_png_size, PngImagePlugin.PngImageFile),
    "WebP": _Format(_webp_size, WebPImagePlugin.WebPImageFile),
    "GIF": _Format(_gif_size, GifImagePlugin.GifImageFile),
    "BMP": _Format(_bmp_size, BmpImagePlugin.BmpImageFile),
    "TIFF": _Format(_tiff_size, TiffImagePlugin.TiffImageFile),
}
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_FOREIGN = {
    b"%PDF": "a PDF",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"<!DOCTYPE": "HTML",
    b"<html": "HTML",
    b"\x00\x00\x01\x00": "ICO",
    b"8BPS": "PSD",
}


def _identify(data: bytes) -> str:
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    foreign = next((f"is {name}" for magic, name in _FOREIGN.items() if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        foreign = f"is {data[8:12].decode('ascii', 'replace').strip().upper()}"
    raise ImageError(f"The data {foreign or 'has no known image format'}; accepted are {', '.join(FORMATS)}.")
