"""The demo: what it needs, what it checks."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from bench.demo import demo
from resserve.errors import ResServeError
from resserve.manifest import read_manifest, write_manifest

RESSERVE = str(Path(sys.executable).with_name("resserve"))


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def picture(folder: Path) -> None:
    (folder / "3").mkdir(parents=True)
    Image.new("L", (8, 8), 128).save(folder / "3" / "0001.png")


def test_no_digits(tmp_path: Path, console: Console) -> None:
    """Without held-out digits the demo says which folder is missing and what writes it."""
    with pytest.raises(ResServeError, match=r"no held-out digits in .*val: `resserve train resnet20 --data digits"):
        demo(tmp_path / "weights", tmp_path / "val", console)


def test_no_repository(tmp_path: Path, console: Console) -> None:
    """Without a repository the demo says so."""
    picture(tmp_path / "val")

    with pytest.raises(ResServeError, match="no model repository"):
        demo(tmp_path / "weights", tmp_path / "val", console)


@pytest.mark.slow
def test_demo_of_a_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    """A model trained on the digits passes; one whose manifest claims more than it can, fails; others are left out."""
    monkeypatch.chdir(tmp_path)
    train = ["train", "resnet20", "--data", "digits", "--out", "runs/net", "--epochs", "2", "--precision", "fp32"]
    untrained = ["export", "resnet20", "--untrained", "--size", "32", "--classes", "10", "--name", "own"]
    for arguments in (train, ["export", "runs/net/checkpoint.pt", "--name", "net"], untrained):
        subprocess.run([RESSERVE, *arguments], check=True)

    assert demo(Path("weights"), Path("runs/digits/val"), console) == []
    assert isinstance(console.file, io.StringIO)
    assert "Left out, not measured on runs/digits/val: own" in console.file.getvalue()

    directory = Path("weights/net/1")
    manifest = read_manifest(directory)
    claim = manifest.metrics | {"top1": manifest.metrics["top1"] - 0.05}
    write_manifest(directory, manifest.model_copy(update={"metrics": claim}))
    (failure,) = demo(Path("weights"), Path("runs/digits/val"), console)
    assert "over gRPC" in failure
