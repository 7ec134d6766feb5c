"""Encoded images to pixels: header checked first, decoded, oriented, resized and cropped into a given array.

The pixels are those that training validates on: EXIF orientation, RGB, the shorter side to `resize` with Pillow's
antialiased filter, the centre crop (torchvision's `Resize` and `CenterCrop`). Only the part of the image that the crop
needs is resized; docs/images.md has what that changes and what it saves.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from resserve.images.errors import as_image_error
from resserve.images.header import MAX_PIXELS, Header, check
from resserve.images.pixels import Colour, Pixels, load, to_rgb

_FILTERS = {"bilinear": (Resampling.BILINEAR, 1.0), "bicubic": (Resampling.BICUBIC, 2.0)}
"""Pillow's filter and its radius in pixels of the coarser grid."""
_PILLOW_13 = int(PIL.__version__.partition(".")[0]) >= 13
"""From 13 on, Pillow resizes the height first where it shrinks by more than twice what the width does (its #9549)."""


def decode(
    data: bytes,
    out: NDArray[np.uint8],
    *,
    resize: int,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    background: Colour | None = None,
    header: Header | None = None,
) -> bool:
    """Decode, orient, convert to RGB, resize the shorter side to `resize`, crop the centre, and write it to `out`.

    Safe to call from several threads at once; decoding and resizing release the GIL. Where the resized image is smaller
    than `out`, it lies in the middle of black, as torchvision's `CenterCrop` has it.

    Args:
        data: an encoded image.
        out: uint8 [height, width, 3], any strides; its shape is the crop.
        resize: pixels of the shorter side before the crop.
        interpolation: Pillow's filter, antialiased.
        background: RGB behind transparent pixels; None drops alpha.
        header: of the image, where it was checked already.

    Returns:
        True where a JPEG lacked its last bytes and was decoded whole all the same; operators may want to count these.

    Raises:
        ImageError: what `check` refuses, and data that is corrupt or truncated; `out` is then undefined.
    """
    header = header or check(data)
    with as_image_error(header.format):
        picture = load(data, header, MAX_PIXELS)
        _fit(picture.pixels, out, resize, interpolation, background)
    return picture.mended


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
    length: int


def _axis(source: int, resized: int, crop: int, radius: float) -> _Axis:
    length = min(resized, crop)
    first = round((resized - length) / 2)
    offset = (crop - length) // 2
    scale = source / resized
    begin, end = first * scale, min((first + length) * scale, source)
    reach = 0.0 if source == resized else radius * max(scale, 1.0) + 1
    start, stop = max(0, math.floor(begin - reach)), min(source, math.ceil(end + reach))
    return _Axis(start, stop, begin - start, end - start, slice(offset, offset + length), length)


def _fit(pixels: Pixels, out: NDArray[np.uint8], resize: int, interpolation: str, background: Colour | None) -> None:
    """Resize and crop as torchvision's `Resize(resize)` and `CenterCrop(out.shape[:2])`, but only what the crop shows.

    Pillow resizes one axis after the other and rounds in between, so the order is part of the result.
    """
    resample, radius = _FILTERS[interpolation]
    height, width = (pixels.height, pixels.width) if isinstance(pixels, Image.Image) else pixels.shape[:2]
    short = min(height, width)
    rows, columns = (resize if side == short else int(resize * side / short) for side in (height, width))
    y, x = _axis(height, rows, out.shape[0], radius), _axis(width, columns, out.shape[1], radius)
    part = _cut(pixels, x, y, background)
    vertical_first = _PILLOW_13 and rows < height and height - rows > 2 * (width - columns)
    for axis in (y, x) if vertical_first else (x, y):
        if axis is x:
            part = part.resize((x.length, part.height), resample, (x.begin, 0, x.end, part.height))
        else:
            part = part.resize((part.width, y.length), resample, (0, y.begin, part.width, y.end))
    if part.size != (out.shape[1], out.shape[0]):
        out[...] = 0
    out[y.place, x.place] = np.asarray(part)


def _cut(pixels: Pixels, x: _Axis, y: _Axis, background: Colour | None) -> Image.Image:
    if isinstance(pixels, Image.Image):
        return to_rgb(pixels.crop((x.start, y.start, x.stop, y.stop)), background)
    return Image.fromarray(pixels[y.start : y.stop, x.start : x.stop])
