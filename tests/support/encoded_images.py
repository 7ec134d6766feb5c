"""Encoded pictures that no encoder at hand writes, and real photographs."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image

_SKIMAGE = Path(skimage.__file__).parent / "data"
_SKLEARN = Path(sklearn.datasets.__file__).parent / "images"
PHOTOS = [_SKLEARN / "china.jpg", _SKLEARN / "flower.jpg"] + [
    _SKIMAGE / name
    for name in (
        "rocket.jpg",
        "retina.jpg",
        "hubble_deep_field.jpg",
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    )
]


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """One file of that Pillow format."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def photo(size: tuple[int, int] = (500, 375), path: Path = PHOTOS[0]) -> Image.Image:
    """A real photograph, RGB, of that size."""
    with Image.open(path) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def noise(*shape: int) -> NDArray[np.uint8]:
    """The pixels that show every difference; the same ones each time."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def png(width: int, height: int, depth: int, color: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these raw rows (a filter byte before each) with further chunks before the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def many_tags(entries: int, size: int) -> bytes:
    """A TIFF block, as EXIF is, whose tags all name the same `size` bytes."""
    directory = b"".join(struct.pack("<HHII", tag, 7, size, 8) for tag in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + directory + bytes(4) + bytes(max(0, size - len(directory)))


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    data = encode(Image.new("L", (width, height)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"
