"""PBM, PGM and PPM, binary or in decimals (netpbm's manual pages pbm(5), pgm(5) and ppm(5)); together called PPM.

Pillow reads the header, and pixels of 1, 8 and 16 bits. Decimals and other depths it would convert one by one, in
Python.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PpmImagePlugin import PpmImageFile

_SPACE = b" \t\n\v\f\r"
_COMMENT = re.compile(rb"#[^\r\n]*")
_MAX_HEADER = 1024  # bytes, comments included
_MAX_DIGITS = 10  # of a side, as Pillow has it


def is_ppm(data: bytes) -> bool:
    """Whether data begins as one of the six kinds."""
    return re.match(rb"P[1-6][ \t\n\v\f\r#]", data) is not None


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    numbers = _COMMENT.sub(b" ", data[2:_MAX_HEADER]).split(maxsplit=2)
    if len(numbers) < 2 or max(map(len, numbers[:2])) > _MAX_DIGITS:
        raise ValueError("no width and height")
    return int(numbers[0]), int(numbers[1])


def load(image: PpmImageFile, data: bytes) -> Image.Image:
    """Black and white, 8-bit grey or RGB; of wider pixels the high byte, as in every format.

    Raises:
        ValueError: pixels are missing, or are no numbers.
    """
    tile: Any = image.tile[0]
    decoder, _, offset, arguments = tile
    if decoder == "raw":
        image.load()
        return image if image.mode != "I" else Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    shape = (image.height, image.width, *([3] if image.mode == "RGB" else []))
    white = 1 if image.mode == "1" else arguments[-1]
    if decoder == "ppm":
        values = np.frombuffer(data, ">u2" if white > 255 else "u1", math.prod(shape), offset)
    else:
        values = _decimals(_COMMENT.sub(b" ", data[offset:]), math.prod(shape), bits=image.mode == "1")
    return Image.fromarray(_eight_bits(np.clip(values, 0, white), white).reshape(shape))


def _decimals(text: bytes, count: int, *, bits: bool) -> NDArray[Any]:
    if bits:
        digits = np.frombuffer(text.translate(None, _SPACE), np.uint8, count) - ord("0")
        return 1 - np.minimum(digits, 1)  # 1 is black
    if text.translate(None, _SPACE + b"0123456789"):
        raise ValueError("something else than numbers")
    values = np.fromstring(text, np.int32, sep=" ")  # without a count, which leaves what is missing undefined
    if len(values) < count:
        raise ValueError(f"{len(values):,} numbers instead of {count:,}")
    return values[:count]


def _eight_bits(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    full, shift = (65535, 8) if white > 255 else (255, 0)
    scaled: NDArray[np.uint16] = np.floor(values * np.float32(full / white) + 0.5).astype(np.uint16) >> shift
    return scaled.astype(np.uint8)
