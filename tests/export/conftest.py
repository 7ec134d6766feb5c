"""What the export's tests share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from export.golden import RealImages, packaged
from resserve.manifest import InputSpec


@pytest.fixture(scope="session")
def spec() -> InputSpec:
    """The input of a network for small pictures."""
    return InputSpec(height=32, width=32, resize=36, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture(scope="session")
def images(spec: InputSpec) -> RealImages:
    """Real images of that input."""
    return packaged(spec)


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of a certified ResNet-20 that a test may spoil: the folder of the version."""

    def make() -> Path:
        return shutil.copytree(repository / "alpha" / "1", tmp_path / "copy", dirs_exist_ok=True)

    return make
