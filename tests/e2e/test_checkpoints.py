"""Files that people give to `resserve export`: each gets a sentence, and the command in it works."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from models import build, load_checkpoint
from resserve.cli import main

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run `resserve ARGUMENTS`, which must end with one sentence and no version: the sentence."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["resserve", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        capsys.readouterr()
        assert not (tmp_path / "weights").exists()
        assert isinstance(ended.value.code, str)
        assert ended.value.code.startswith("resserve: ")
        assert "\n" not in ended.value.code
        return ended.value.code

    return run


def carry_out(command: str) -> None:
    """Run a command of a sentence in the environment of this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": path})


def commands(sentence: str) -> list[str]:
    return re.findall("`([^`]+)`", sentence)


def test_a_plain_state_dict(refused: Refused) -> None:
    """It is named with its first keys and its network, and the command that makes a checkpoint of it does so."""
    weights = build("resnet20", num_classes=5).state_dict()
    torch.save(weights, "my.pth")
    for label in ("a", "b"):
        Path("photos", label).mkdir(parents=True)
        for number in range(2):
            (Path("photos") / label / f"{number}.ppm").write_bytes(b"P6 32 32 255\n" + bytes([number * 9]) * 3072)

    sentence = refused("export", "my.pth", "--name", "net")

    assert "my.pth holds a plain state_dict (conv1.weight, bn1.weight, bn1.bias, …, 116 tensors)" in sentence
    assert "where a checkpoint of `resserve train` is looked for" in sentence
    train = next(command for command in commands(sentence) if "--init" in command)
    arguments = shlex.split(train.replace("FOLDER", "photos").replace("DIR", "out"))
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--epochs", "1", "--batch", "2", "--lr", "1e-9"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert torch.allclose(
        load_checkpoint(Path("out/checkpoint.pt")).state_dict["conv1.weight"], weights["conv1.weight"]
    )


def test_weights_inside_something_else(refused: Refused) -> None:
    """The keys around the weights are named, and the command takes the weights out."""
    weights = build("resnet20", num_classes=5).state_dict()
    torch.save({"epoch": 7, "state_dict": weights, "optimizer": {}}, "their.pth.tar")

    sentence = refused("export", "their.pth.tar", "--name", "net")

    assert "holds a dictionary (epoch, state_dict, optimizer), where a checkpoint of `resserve train`" in sentence
    carry_out(commands(sentence)[1])
    assert torch.load("weights.pth").keys() == weights.keys()


def test_a_network_without_untrained(refused: Refused) -> None:
    """A network's name is no file: the command for random weights is given; and a file is no network's name."""
    assert refused("export", "resnet18", "--name", "net").endswith(
        "There is no file resnet18, which is a network's name; export a checkpoint of it, or random weights by "
        "`resserve export resnet18 --untrained --name net`."
    )
    Path("my.pt").touch()
    assert "my.pt is a file; export it by `resserve export my.pt --name net`." in refused(
        "export", "my.pt", "--untrained", "--name", "net"
    )


def test_the_folder_of_a_run(refused: Refused) -> None:
    """A folder is answered with the checkpoint inside."""
    Path("runs").mkdir()
    Path("runs/checkpoint.pt").touch()

    assert refused("export", "runs", "--name", "net").endswith("(Is a directory); give runs/checkpoint.pt.")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*TorchScript:UserWarning")
def test_other_formats(refused: Refused) -> None:
    """Whole models, TorchScript, safetensors and HDF5 are told apart, each with the way to its weights."""
    torch.save(nn.Linear(2, 2), "whole.pt")
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save("program.pt")
    Path("a.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    Path("keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n")

    for name, says in {
        "whole.pt": "of a whole model save the weights alone, torch.save(model.state_dict(), 'weights.pth')",
        "program.pt": "is a TorchScript program; take out the weights by `python",
        "a.safetensors": "is a safetensors file; convert it by `python",
        "keras.h5": "is an HDF5 file, as Keras writes them",
    }.items():
        assert f"{name} is no checkpoint: it " in (sentence := refused("export", name, "--name", "net"))
        assert says in sentence
    carry_out(commands(refused("export", "program.pt", "--name", "net"))[0])
    assert torch.load("weights.pth")["weight"].shape == (2, 2)
