"""The formats that are read: how each says its size, and the Pillow plugin that decodes it.

Pillow's parsers are Python and trust the file; what they would spend seconds or gigabytes on is refused here, by bounds
that no encoder reaches.
"""

import io
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from resserve.images import jpeg, netpbm
from resserve.images.errors import ImageError
from resserve.images.foreign import describe

_MAX_PNG_CHUNKS = 2**16
_MAX_PNG_TEXTS = 32  # that may be compressed, each to be inflated by Pillow to up to 1 MiB; a small image has them too
_MAX_GIF_BLOCKS = 4096  # before the first picture; a comment grows by copying
_MAX_TIFF_TAGS = 500
_MAX_TIFF_VALUES = 2**16  # of one numeric tag, such as an offset per strip


def _png_size(data: bytes) -> tuple[int, int]:
    position, texts = 8, 0
    for _ in range(_MAX_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        texts += kind in (b"zTXt", b"iTXt", b"iCCP")
        if texts > _MAX_PNG_TEXTS:
            raise ValueError(f"more than {_MAX_PNG_TEXTS} compressed texts and profiles")
        if kind == b"IEND" or position + 8 > len(data):  # whose last bytes may be missing: nothing is in it
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
    open: Callable[[Any], ImageFile.ImageFile]


FORMATS = {
    "JPEG": _Format(jpeg.size, JpegImagePlugin.JpegImageFile),
    "PNG": _Format(_png_size, PngImagePlugin.PngImageFile),
    "WebP": _Format(_webp_size, WebPImagePlugin.WebPImageFile),
    "GIF": _Format(_gif_size, GifImagePlugin.GifImageFile),
    "BMP": _Format(_bmp_size, BmpImagePlugin.BmpImageFile),
    "TIFF": _Format(_tiff_size, TiffImagePlugin.TiffImageFile),
    "PPM": _Format(netpbm.size, PpmImagePlugin.PpmImageFile),
}
"""What is accepted; PPM stands for PBM and PGM as well."""
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


def identify(data: bytes) -> str:
    """The format of the data, by its first bytes.

    Raises:
        ImageError: it is not accepted; the message says what the data looks like and what to send.
    """
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if netpbm.is_ppm(data):
        return "PPM"
    raise ImageError(f"The data {describe(data)}; accepted are {', '.join(FORMATS)}.")
