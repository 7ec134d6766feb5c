"""A small folder of images, and options of runs on it that take a second."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paper.options import Options


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Layers this small take ten times as long on several threads when the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in colour: 24 training and 8 test images of 8x8 pixels."""
    return paint(tmp_path_factory.mktemp("paper") / "data", train=12)


def paint(root: Path, *, train: int) -> Path:
    """Write such a folder, with so many training images of each class."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("test", 4)):
        for channel, name in ((2, "blue"), (0, "red")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                pixels[..., channel] += 130
                Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return root


@pytest.fixture
def small(images: Path, tmp_path: Path) -> Options:
    """Two epochs of one step, at 8 pixels."""
    return Options(data=str(images), epochs=2, seeds=1, size=8, runs=tmp_path / "runs", out=tmp_path / "docs")
