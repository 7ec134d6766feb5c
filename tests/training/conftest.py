"""Small real folders of images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Painter = Callable[..., Path]


@pytest.fixture
def paint(tmp_path: Path) -> Painter:
    """Writes classes that differ in colour, so that a network can tell them apart, e.g. blue=4, red=4."""

    def painter(part: str, *, size: int = 32, root: str = "data", **classes: int) -> Path:
        random = np.random.default_rng(0)
        for index, (name, count) in enumerate(classes.items()):
            folder = tmp_path / root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = random.integers(0, 120, (size, size, 3), dtype=np.uint8)
                pixels[..., index % 3] += 130
                Image.fromarray(pixels).save(folder / f"{number}.png")
        return tmp_path / root

    return painter
