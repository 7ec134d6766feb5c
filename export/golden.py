"""Real images to certify a model with, prepared as the service prepares them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from export.replay import Images
from resserve.errors import ResServeError
from resserve.images.folder import find_images, shown
from resserve.images.pixels import read
from resserve.manifest import InputSpec

GOLDEN = 8  # every one delays a start of the service, which replays them
CALIBRATION = 64

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class RealImages:
    """Images of one source, uint8 [M, H, W, 3] RGB each.

    Attributes:
        golden: GOLDEN images that the certificate is about.
        calibration: up to CALIBRATION others, to find the ranges of activations with.
    """

    golden: Images
    calibration: Images


def from_folder(folder: Path, spec: InputSpec) -> RealImages:
    """Take images of a folder, in any layout, spread evenly over its sorted paths and so over its classes.

    Raises:
        ResServeError: it holds too few images, or one of those taken cannot be read.
    """
    found = find_images(folder)
    paths = found.images
    if len(paths) < 2 * GOLDEN:
        others = f" (and {found.account()})" if found.left_out else ""
        raise ResServeError(
            f"{shown(folder)} holds {len(paths)} images{others}; a certificate needs {GOLDEN} and as many others to "
            "calibrate with."
        )
    golden = _spread(paths, GOLDEN)
    others = _spread([path for path in paths if path not in set(golden)], CALIBRATION)
    return RealImages(
        np.stack([prepare(_read(path, spec), spec) for path in golden]),
        np.stack([prepare(_read(path, spec), spec) for path in others]),
    )


def packaged(spec: InputSpec) -> RealImages:
    """Take squares of the two photos inside scikit-learn, for a model whose own data is not at hand.

    Raises:
        ResServeError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        raise ResServeError(
            "The photos to certify with are part of scikit-learn; install resserve[train] or give --golden a folder."
        ) from None
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    squares = np.stack([prepare(square, spec) for photo in photos for square in _squares(photo)])
    golden = _spread(range(len(squares)), GOLDEN)
    others = [index for index in range(len(squares)) if index not in golden]
    return RealImages(squares[golden], squares[others])


def prepare(image: Image.Image, spec: InputSpec) -> Images:
    """An RGB image as the model's input, uint8 [H, W, 3]: shorter side to `resize`, then the centre crop."""
    resized = Resize(spec.resize, InterpolationMode(spec.interpolation))(image)
    return np.asarray(CenterCrop((spec.height, spec.width))(resized))


def _read(path: Path, spec: InputSpec) -> Image.Image:
    try:
        return read(path, spec.background)[0]
    except ResServeError as error:
        raise ResServeError(
            f"{str(error).removesuffix('.')} cannot be read; remove it, or name another folder."
        ) from None


def _squares(photo: Image.Image) -> Iterator[Image.Image]:
    """Squares of three sizes on a grid: different views of one scene."""
    for side, steps in ((photo.height, 4), (photo.height * 2 // 3, 5), (photo.height // 2, 6)):
        for step in range(steps):
            left = (photo.width - side) * step // (steps - 1)
            top = (photo.height - side) * (step % 3) // 2
            yield photo.crop((left, top, left + side, top + side))


def _spread(items: Sequence[_Item], count: int) -> list[_Item]:
    """Up to `count` items at even distances."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]
