"""Golden images: real, the service's pixels, and never those that int8 is calibrated on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export.golden import CALIBRATION, GOLDEN, RealImages, from_folder, packaged, prepare
from resserve.errors import ResServeError
from resserve.golden import check_varied
from resserve.manifest import InputSpec
from service.images.decode import decode
from training.images import read_rgb, served


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

    with pytest.raises(ResServeError, match=r"class 0/0\.png \(.*\) cannot be read"):
        from_folder(tmp_path, spec)


def _deep(folder: Path, count: int = 16) -> Path:
    """A folder of 16-bit grey pictures, as microscopes and scanners write them: all brighter than 255."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        picture = Image.fromarray(random.integers(1000, 65536, (32, 32), dtype=np.uint16))
        picture.save(folder / f"{number:02}.{('png', 'tif', 'pgm')[number % 3]}")
    return folder


def test_deep_pictures_are_not_white_squares(spec: InputSpec, tmp_path: Path) -> None:
    """16-bit pictures become golden and calibration images by the rule of service and training, not clipped."""
    folder = _deep(tmp_path / "deep")

    images = from_folder(folder, spec)

    paths = sorted(folder.iterdir())
    expected = np.stack([prepare(read_rgb(path), spec) for path in paths])
    assert {image.tobytes() for image in (*images.golden, *images.calibration)} == {row.tobytes() for row in expected}
    assert images.golden.std() > 20
    served = np.empty((32, 32, 3), np.uint8)
    for path, ours in zip(paths, expected, strict=True):
        decode(path.read_bytes(), served, resize=36)
        assert np.abs(served.astype(int) - ours).max() <= 2


def test_hidden_files_are_no_golden_images(spec: InputSpec, tmp_path: Path) -> None:
    """What macOS and Jupyter leave in a folder is passed over; with too few pictures the message accounts for it."""
    photos = _photos(tmp_path, 2 * GOLDEN)
    expected = from_folder(photos, spec)
    (photos / ".ipynb_checkpoints").mkdir()
    for name in ("class 0/._0.png", ".ipynb_checkpoints/0-checkpoint.png"):
        (photos / name).write_bytes(b"\0\5\x16\7")

    assert np.array_equal(from_folder(photos, spec).golden, expected.golden)
    (photos / "class 0" / "0.png").unlink()
    with pytest.raises(ResServeError, match=r"holds 15 images \(and 2 hidden\); a certificate needs 8"):
        from_folder(photos, spec)


def _varied(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 7))
def test_golden_images_must_differ(same_images: int, same_logits: int, noise: int) -> None:
    """Where more than half of the images, or of the answers, are nearly the same, there is no certificate."""
    images = _varied(GOLDEN).clip(10, 245)
    logits = np.random.default_rng(1).normal(size=(GOLDEN, 5)).astype(np.float32)
    images[:same_images] = images[0]
    images[: max(same_images, 1) : 2] += np.uint8(noise)
    logits[:same_logits] = logits[0] + 1e-5

    distinct = min(GOLDEN - max(same - 1, 0) for same in (same_images, same_logits))
    if distinct >= GOLDEN // 2:
        check_varied(images, logits)
    else:
        with pytest.raises(ResServeError, match=r"can be told apart|different rows of logits"):
            check_varied(images, logits)
