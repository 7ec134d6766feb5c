"""Encoded images to pixels: header checked first, decoded, oriented, resized and cropped into a given array.

The pixels are those that training validates on: EXIF orientation, RGB, the shorter side to `resize` with Pillow's
antialiased filter, the centre crop (torchvision's `Resize` and `CenterCrop`). Only the part of the image that the crop
needs is resized; docs/images.md has what that changes and what it saves.
"""

import io
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Resampling, Transpose

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000

_MAX_EXIF_BYTES = 2**16
"""A JPEG segment holds no more; larger blocks are built to make the parser copy them once per tag."""
_MAX_JPEG_SCANS = 100
"""libjpeg works through the whole image once per scan; encoders write about 10."""
_MAX_TIFF_VALUES = 2**17
"""Values of one numeric tag: a strip per row of the tallest image is still fewer."""

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
_FILTERS = {"bilinear": (Resampling.BILINEAR, 1.0), "bicubic": (Resampling.BICUBIC, 2.0)}
"""Pillow's filter and its radius in pixels of the coarser grid."""
_PILLOW_13 = int(PIL.__version__.partition(".")[0]) >= 13
"""From 13 on, Pillow resizes the height first where it shrinks by more than twice what the width does (its #9549)."""


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
    with _judged(name):
        width, height = _FORMATS[name].size(data)
    if width < 1 or height < 1:
        raise ImageError(f"The {name} image says that it has {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooLargeError(f"The image has {width} x {height} pixels; at most {max_pixels:,} are accepted.")
    return Header(name, width, height)


def decode(
    data: bytes,
    out: NDArray[np.uint8],
    *,
    resize: int,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Decode, orient, convert to RGB, resize the shorter side to `resize`, crop the centre, and write it to `out`.

    Safe to call from several threads at once; decoding and resizing release the GIL. Where the resized image is smaller
    than `out`, it lies in the middle of black, as torchvision's `CenterCrop` has it.

    Args:
        data: an encoded image; `check` is part of the call.
        out: uint8 [height, width, 3], any strides; its shape is the crop.
        resize: pixels of the shorter side before the crop.
        interpolation: Pillow's filter, antialiased.
        max_bytes: as in `check`.
        max_pixels: as in `check`.

    Raises:
        ImageError: what `check` refuses, and data that is corrupt or truncated; `out` is then undefined.
    """
    header = check(data, max_bytes=max_bytes, max_pixels=max_pixels)
    with _judged(header.format):
        _fit(_upright(_load(data, header, max_pixels)), out, resize, interpolation)


@contextmanager
def _judged(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into ImageError: Pillow's plugins raise a dozen kinds on hostile bytes."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ImageError(f"The {name} image is corrupt or truncated ({reason}).") from None


def _load(data: bytes, header: Header, max_pixels: int) -> Image.Image:
    """The stored pixels in whatever mode, with `info` where there is EXIF."""
    if header.format == "JPEG":
        fast = _load_jpeg(data)
        if fast is not None:
            return fast
    image = _FORMATS[header.format].open(io.BytesIO(data))
    if image.width * image.height > max_pixels:  # a GIF frame may be larger than its screen
        raise ImageError(f"The image has {image.width} x {image.height} pixels; at most {max_pixels:,} are accepted.")
    image.load()
    return image


def _load_jpeg(data: bytes) -> Image.Image | None:
    """libjpeg-turbo without Pillow's copies; None where Pillow has to judge: CMYK, and anything out of order."""
    try:
        image = Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
    except ValueError:
        return None
    if any(marker == 0xE1 for marker, _, _ in _jpeg_segments(data)):
        image.info = JpegImagePlugin.JpegImageFile(io.BytesIO(data)).info
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation (or XMP's, as Pillow reads it where EXIF has none)."""
    _check_exif(len(image.info.get("exif", b"")) + len(image.info.get("Raw profile type exif", "")) // 2)
    method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def _check_exif(size: int) -> None:
    if size > _MAX_EXIF_BYTES:
        raise ImageError(f"The image's EXIF block has {size:,} bytes; at most {_MAX_EXIF_BYTES:,} are accepted.")


class _Axis(NamedTuple):
    """One side of resize and crop, in pixels."""

    start: int
    """The source from `start` to `stop` is needed: the crop's part of it and the filter's reach."""
    stop: int
    begin: float
    """What becomes the crop, counted from `start`."""
    end: float
    place: slice
    """Where it lies in the output."""
    count: int


def _axis(source: int, resized: int, crop: int, radius: float) -> _Axis:
    count = min(resized, crop)
    first = round((resized - count) / 2)
    offset = (crop - count) // 2
    scale = source / resized
    begin, end = first * scale, min((first + count) * scale, source)
    reach = 0.0 if source == resized else radius * max(scale, 1.0) + 1
    start, stop = max(0, math.floor(begin - reach)), min(source, math.ceil(end + reach))
    return _Axis(start, stop, begin - start, end - start, slice(offset, offset + count), count)


def _fit(image: Image.Image, out: NDArray[np.uint8], resize: int, interpolation: str) -> None:
    """Resize and crop as torchvision's `Resize(resize)` and `CenterCrop(out.shape[:2])`, but only what the crop shows.

    Pillow resizes one axis after the other and rounds in between, so the order is part of the result.
    """
    resample, radius = _FILTERS[interpolation]
    short = min(image.size)
    width, height = (resize if side == short else int(resize * side / short) for side in image.size)
    x = _axis(image.width, width, out.shape[1], radius)
    y = _axis(image.height, height, out.shape[0], radius)
    part = _to_rgb(image.crop((x.start, y.start, x.stop, y.stop)))
    vertical_first = _PILLOW_13 and height < image.height and image.height - height > 2 * (image.width - width)
    for axis in (y, x) if vertical_first else (x, y):
        if axis is x:
            part = part.resize((x.count, part.height), resample, (x.begin, 0, x.end, part.height))
        else:
            part = part.resize((part.width, y.count), resample, (0, y.begin, part.width, y.end))
    if part.size != (out.shape[1], out.shape[0]):
        out[...] = 0
    out[y.place, x.place] = np.asarray(part)


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB as Pillow's `convert` has it (alpha dropped), but 16-bit grey by its high byte instead of clipped at 255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ImageError("The image has 32-bit pixels, whose white is undefined; send 8 or 16 bits per channel.")
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")


def _jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, stop) of the segments before the first scan, that scan's header last (ITU T.81, B.1)."""
    segments = []
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        segments.append((marker, position + 4, position + 2 + length))
        if marker == 0xDA:
            break
        position += 2 + length
    return segments


def _jpeg_size(data: bytes) -> tuple[int, int]:
    segments = _jpeg_segments(data)
    exif = sum(
        stop - start for marker, start, stop in segments if marker == 0xE1 and data[start : start + 4] == b"Exif"
    )
    if exif > _MAX_EXIF_BYTES:
        raise ImageError(f"The image's EXIF block is larger than {_MAX_EXIF_BYTES:,} bytes; remove it.")
    progressive = any(marker in (0xC2, 0xC6, 0xCA, 0xCE) for marker, _, _ in segments)
    if progressive and data.count(b"\xff\xda", segments[-1][1]) >= _MAX_JPEG_SCANS:
        raise ImageError(f"The JPEG image has more than {_MAX_JPEG_SCANS} scans; save it again.")
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    return width, height


def _png_size(data: bytes) -> tuple[int, int]:
    return struct.unpack_from(">II", data, 16)


def _gif_size(data: bytes) -> tuple[int, int]:
    return struct.unpack_from("<HH", data, 6)


def _bmp_size(data: bytes) -> tuple[int, int]:
    if data[14] == 12:  # OS/2
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
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


_FORMATS = {
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
    raise ImageError(f"The data {foreign or 'has no known image format'}; accepted are {', '.join(_FORMATS)}.")
