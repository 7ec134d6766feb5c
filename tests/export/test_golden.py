"""Golden images: real, the service's pixels, and never those that int8 is calibrated on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export.golden import CALIBRATION, GOLDEN, RealImages, from_folder, packaged, prepare
from resserve.errors import ResServeError
from resserve.manifest import InputSpec
from training.images import served


def _photos(folder: Path, count: int) -> Path:
    """A folder of distinct pictures in class folders."""
    for number in range(count):
        (folder / f"class {number % 4}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 48), (number, 255 - number, 7)).save(folder / f"class {number % 4}" / f"{number}.png")
    return folder


def _distinct(images: RealImages) -> int:
    return len({image.tobytes() for image in (*images.golden, *images.calibration)})


@settings(max_examples=40)
@given(width=st.integers(8, 90), height=st.integers(8, 90), size=st.integers(8, 40), margin=st.integers(0, 12))
def test_pixels_are_those_that_training_validates_on(width: int, height: int, size: int, margin: int) -> None:
    """Resize and crop equal training's, bit for bit, whatever the shape."""
    noise = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    spec = InputSpec(height=size, width=size, resize=size + margin, mean=(0, 0, 0), std=(1, 1, 1))

    ours = prepare(Image.fromarray(noise), spec)

    theirs = served(size, size + margin)(Image.fromarray(noise)).permute(1, 2, 0).numpy()
    assert np.array_equal(ours, theirs)


def test_the_packaged_photos_are_varied_and_always_the_same(spec: InputSpec, images: RealImages) -> None:
    """Eight golden squares and others to calibrate with, all different, and equal in every run."""
    again = packaged(spec)

    assert images.golden.shape == (GOLDEN, 32, 32, 3)
    assert images.golden.dtype == np.uint8
    assert len(images.calibration) >= 2 * GOLDEN
    assert _distinct(images) == len(images.golden) + len(images.calibration)
    assert np.array_equal(again.golden, images.golden)
    assert np.array_equal(again.calibration, images.calibration)


@pytest.mark.parametrize("count", [2 * GOLDEN, 29, CALIBRATION + GOLDEN + 30])
def test_a_folder_gives_golden_images_of_all_classes_and_others(count: int, spec: InputSpec, tmp_path: Path) -> None:
    """Images come from the whole folder, and none is both golden and for calibration."""
    images = from_folder(_photos(tmp_path, count), spec)

    assert len(images.golden) == GOLDEN
    assert len(images.calibration) == min(CALIBRATION, count - GOLDEN)
    assert _distinct(images) == GOLDEN + len(images.calibration)
    classes = {int(image[0, 0, 0]) % 4 for image in images.golden}
    assert classes == {0, 1, 2, 3}


def test_too_few_images_are_refused(spec: InputSpec, tmp_path: Path) -> None:
    """The message says how many there are and how many it takes."""
    with pytest.raises(ResServeError, match="holds 15 images; a certificate needs 8"):
        from_folder(_photos(tmp_path, 15), spec)


def test_a_broken_image_is_named(spec: InputSpec, tmp_path: Path) -> None:
    """One that cannot be decoded is not left out silently."""
    for path in _photos(tmp_path, 16).rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])

    with pytest.raises(ResServeError, match=r"class 0/0\.png cannot be read"):
        from_folder(tmp_path, spec)
