from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from resserve.errors import ResServeError
from tests.training.conftest import Painter
from training import digits
from training.data import Sample, check_images, open_data, split


@pytest.mark.parametrize("part", ["val", "test"])
def test_held_out_folder(paint: Painter, part: str) -> None:
    """Images of val/ or test/ are held out, with the labels of the training folders."""
    paint("train", blue=3, red=2)
    root = paint(part, red=2, blue=1)

    data = open_data(str(root), seed=0)

    assert data.labels == ["blue", "red"]
    assert [sample.label for sample in data.train] == [0, 0, 0, 1, 1]
    assert {sample.path.parent.name: sample.label for sample in data.held_out} == {"blue": 0, "red": 1}
    assert str(root / part) in data.description


@pytest.mark.parametrize("part", ["train", "."])
def test_seeded_split(paint: Painter, part: str) -> None:
    """Without a held-out folder a fifth of each class is held out: the same for a seed, another for another."""
    root = paint(part, blue=10, red=5)

    data = open_data(str(root), seed=1)

    assert [sum(sample.label == label for sample in data.held_out) for label in (0, 1)] == [2, 1]
    assert not set(data.train) & set(data.held_out)
    assert len(data.train) + len(data.held_out) == 15
    assert open_data(str(root), seed=1) == data
    assert any(open_data(str(root), seed=seed).held_out != data.held_out for seed in (2, 3, 4))


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5).filter(lambda counts: max(counts) > 1), st.integers(0, 9))
def test_split_leaves_every_class_an_image(counts: list[int], seed: int) -> None:
    """Whatever the class sizes, each class keeps an image to train on, and no image is lost or doubled."""
    samples = [Sample(Path(f"{label}/{n}"), label) for label, count in enumerate(counts) for n in range(count)]

    train, held_out = split(samples, classes=len(counts), seed=seed)

    assert {sample.label for sample in train} == set(range(len(counts)))
    assert sorted([*train, *held_out]) == sorted(samples)
    assert held_out


def test_fingerprint_follows_the_files(paint: Painter) -> None:
    """The fingerprint is that of the files: independent of where they are, changed when one is."""
    here = open_data(str(paint("train", blue=5, red=5)), seed=0)
    there = open_data(str(paint("train", blue=5, red=5, root="copy")), seed=0)

    assert here.fingerprint == there.fingerprint
    (here.train[0].path).write_bytes(there.train[0].path.read_bytes() + b"x")
    assert open_data(str(here.train[0].path.parents[2]), seed=0).fingerprint != there.fingerprint


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    with pytest.raises(ResServeError, match=r"There is no folder .*nowhere; name a folder of images"):
        open_data(str(tmp_path / "nowhere"), seed=0)


def test_one_class(paint: Painter) -> None:
    """One class is nothing to tell apart."""
    with pytest.raises(ResServeError, match="only the class red; training needs"):
        open_data(str(paint("train", red=3)), seed=0)


def test_empty_class(paint: Painter) -> None:
    """A class folder without images is named."""
    root = paint("train", blue=2, red=0)

    with pytest.raises(ResServeError, match=r"class folder .*red holds no images"):
        open_data(str(root), seed=0)


def test_unknown_held_out_class(paint: Painter) -> None:
    """A held-out class that was never trained on is named."""
    paint("train", blue=2, red=2)
    root = paint("val", green=2)

    with pytest.raises(ResServeError, match="holds the class green, which no training image has"):
        open_data(str(root), seed=0)


def test_broken_images_are_all_counted(paint: Painter) -> None:
    """Truncated files and files that are no images are found before training, in one sentence with the first name."""
    root = paint("train", blue=4, red=4)
    whole = (root / "train/blue/1.png").read_bytes()
    (root / "train/blue/1.png").write_bytes(whole[: len(whole) // 2])
    (root / "train/red/2.png").write_bytes(b"not an image")
    data = open_data(str(root), seed=0)

    with pytest.raises(
        ResServeError, match=r"^2 of 8 images cannot be read; replace or remove them, first .*1\.png \("
    ):
        list(check_images([*data.train, *data.held_out]))


def test_digits_are_scikit_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits become 1,797 files once, whose pixels and classes are scikit-learn's, a fifth of them held out."""
    monkeypatch.chdir(tmp_path)

    data = open_data(digits.NAME, seed=0)

    original = load_digits()
    assert (len(data.train), len(data.held_out)) == (1437, 360)
    assert data.labels == [str(digit) for digit in range(10)]
    assert not data.mirrored
    for path, label in [*data.train[::50], *data.held_out[::50]]:
        number = int(path.stem)
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            assert list(image.tobytes()) == (original.images[number] * 255 / 16).round().astype(int).ravel().tolist()
        assert label == original.target[number]
    assert open_data(digits.NAME, seed=5) == data
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits"]
