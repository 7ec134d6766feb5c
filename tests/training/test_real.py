"""Real data to real accuracy: long, and the only proof that the recipes work."""

import os
import tarfile
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from training.config import TrainConfig
from training.run import train

CIFAR10 = Path(os.environ.get("RESSERVE_CIFAR10", "/work/shared/data/cifar10.tar.gz"))
PER_CLASS = {"train": 200, "test": 50}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("architecture", "epochs", "lr"), [("resnet50", 8, None), ("vgg16_bn", 4, 0.01)])
def test_the_embedded_default(
    architecture: str, epochs: int, lr: float | None, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make serve` trains on digits is right for over 95 % of the held-out ones, not only with a lucky seed."""
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(
        architecture=architecture, data="digits", out=Path("out"), size=32, epochs=epochs, lr=lr, seed=seed
    )

    assert train(config, console=Console(file=StringIO())).top1 > 0.95


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """The first images of each class, as the archive orders them, in ImageFolder layout: train/ and test/."""
    if not CIFAR10.is_file():
        pytest.skip(f"there is no {CIFAR10}; set RESSERVE_CIFAR10 to an archive of CIFAR-10 as an image folder")
    taken: dict[Path, int] = {}
    with tarfile.open(CIFAR10) as archive:
        for member in archive:
            path = Path(member.name)
            if member.isfile() and path.parts[-3:-2] and path.parts[-3] in PER_CLASS:
                part, name = path.parts[-3:-1]
                taken[Path(part, name)] = taken.get(Path(part, name), 0) + 1
                if taken[Path(part, name)] <= PER_CLASS[part]:
                    archive.extract(member, tmp_path, filter="data")
    return next(tmp_path.rglob("train")).parent


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_cifar10(cifar10: Path, tmp_path: Path) -> None:
    """ResNet-20 learns from a few real photographs of CIFAR-10: far better than one in ten after some epochs."""
    config = TrainConfig(architecture="resnet20", data=str(cifar10), out=tmp_path / "out", epochs=8, lr=0.05)

    outcome = train(config, console=Console(file=StringIO()))

    assert "500 images of" in outcome.measured_on
    assert outcome.top1 > 0.3
