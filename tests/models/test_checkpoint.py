"""The checkpoint file: whole or not at all, and never code."""

import pickle
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import Checkpoint, build, load_checkpoint, save_checkpoint
from resserve.errors import ResServeError

ARGUMENTS = {"num_classes": 3, "shortcut": "A"}


def _checkpoint(**changes: object) -> Checkpoint:
    model = build("resnet20", **ARGUMENTS)
    checkpoint = Checkpoint(
        architecture="resnet20",
        arguments=ARGUMENTS,
        state_dict=model.state_dict(),
        labels=["cat", "dog", "Größe"],
        input_size=32,
        resize=36,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        recipe={"name": "paper", "lr": 0.1, "milestones": [80, 120]},
        epoch=7,
        metrics={"top1": 0.97, "loss": 0.1},
        metrics_data="digits, held out",
        fingerprint="ab" * 32,
        training_state={"optimizer": {"state": {0: torch.arange(3.0)}}, "rng": torch.get_rng_state()},
    )
    return replace(checkpoint, **changes)


def test_round_trip(tmp_path: Path) -> None:
    """All that is saved comes back, and the rebuilt network gives the same logits bit for bit."""
    saved = _checkpoint()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    loaded = load_checkpoint(tmp_path / "checkpoint.pt")

    for name in ("architecture", "arguments", "labels", "input_size", "resize", "interpolation", "mean", "std"):
        assert getattr(loaded, name) == getattr(saved, name), name
    for name in ("recipe", "epoch", "metrics", "metrics_data", "fingerprint"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert torch.equal(loaded.training_state["optimizer"]["state"][0], torch.arange(3.0))
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded.build_model().eval()(images), saved.build_model().eval()(images))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_built_model_owns_its_weights() -> None:
    """Training a model that a checkpoint built leaves the checkpoint as it was, and every weight learns."""
    checkpoint = _checkpoint()
    model = checkpoint.build_model()

    with torch.no_grad():
        model.fc.weight.fill_(9.0)

    assert checkpoint.state_dict["fc.weight"].max() < 9.0
    assert model.training
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in model.parameters())


WRITER = """
import itertools, sys, torch
from pathlib import Path
from models import Checkpoint, save_checkpoint
for epoch in itertools.count(1):
    weights = {"weight": torch.full((4_000_000,), float(epoch))}
    save_checkpoint(Path(sys.argv[1]), Checkpoint(
        architecture="resnet20", arguments={}, state_dict=weights, labels=[], input_size=32, resize=32, epoch=epoch))
    print(epoch, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Whenever a writer is killed, the last checkpoint that it finished, or the next, is there and whole."""
    path = tmp_path / "checkpoint.pt"
    chance = random.Random(0)
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(chance.randint(1, 3)):
            finished = int(writer.stdout.readline())
        time.sleep(chance.uniform(0, 0.05))
        writer.kill()
        finished = int(([str(finished), *writer.communicate()[0].split()])[-1])

        checkpoint = load_checkpoint(path)

        assert finished <= checkpoint.epoch <= finished + 1
        assert checkpoint.state_dict["weight"].unique().tolist() == [checkpoint.epoch]
    save_checkpoint(path, _checkpoint())
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"], "what killed writers left is gone"


FULL_DISK = """
import resource, signal, sys, torch
from dataclasses import replace
from pathlib import Path
from models import load_checkpoint, save_checkpoint
from resserve.errors import ResServeError
path = Path(sys.argv[1])
larger = replace(load_checkpoint(path), epoch=8, training_state={"momentum": torch.zeros(10_000_000)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
try:
    save_checkpoint(path, larger)
except ResServeError as error:
    print(error)
"""


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    """When the file cannot grow, one sentence says so, the old checkpoint stays and nothing lies beside it."""
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _checkpoint())

    writer = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)

    assert writer.stdout.startswith(f"Cannot write the checkpoint {path} (")
    assert writer.stdout.strip().endswith("free space or choose another folder.")
    assert load_checkpoint(path).epoch == 7
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    """A checkpoint that holds an object of code is refused while it is written, not when it is needed."""
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _checkpoint())

    with pytest.raises(pickle.UnpicklingError):
        save_checkpoint(path, _checkpoint(recipe={"path": tmp_path}))

    assert load_checkpoint(path).epoch == 7
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


class _Malice:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickles_are_refused_unopened(tmp_path: Path, write: object) -> None:
    """A file that would run code when unpickled is refused, and the code does not run."""
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    write({"format": "resserve.checkpoint/1", "architecture": _Malice(trace)}, path)

    with pytest.raises(ResServeError, match="could run code and are never opened"):
        load_checkpoint(path)

    assert not trace.exists()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes a file holds, cut short or overwritten anywhere, loading either refuses in words or succeeds."""
    path = tmp_path / "checkpoint.pt"
    if not path.exists():
        save_checkpoint(path, _checkpoint())
    content = path.read_bytes()
    kind = data.draw(st.sampled_from(["noise", "cut", "overwritten"]))
    if kind == "noise":
        content = data.draw(st.binary(max_size=200))
    elif kind == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=8))
        content = content[:at] + noise + content[at + len(noise) :]
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(content)

    try:
        loaded = load_checkpoint(damaged)
    except ResServeError as error:
        assert str(damaged) in str(error)
    else:
        assert kind == "overwritten", "a file that is cut or noise cannot be a checkpoint"
        assert isinstance(loaded, Checkpoint)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    """Bare weights, a missing file, a folder and another version's file each get their own sentence."""
    bare, other = tmp_path / "resnet18.pth", tmp_path / "other.pt"
    torch.save(build("resnet20", num_classes=2).state_dict(), bare)
    torch.save({"format": "resserve.checkpoint/1", "architecture": "resnet20"}, other)

    for path, message in (
        (bare, r"holds a plain state_dict \(conv1.weight, .*\), where a checkpoint .* a resnet20's: make one by `res"),
        (other, "another version of ResServe"),
        (tmp_path / "missing.pt", "Cannot read the checkpoint .*No such file"),
        (tmp_path, "Cannot read the checkpoint .*Is a directory"),
    ):
        with pytest.raises(ResServeError, match=message):
            load_checkpoint(path)
    with pytest.raises(ResServeError, match=r"Cannot write the checkpoint .*No such file"):
        save_checkpoint(tmp_path / "missing" / "checkpoint.pt", _checkpoint())


def test_contents_that_contradict_each_other_are_refused() -> None:
    """Labels that are not as many as classes, weights of another network and unknown names are refused in words."""
    with pytest.raises(ResServeError, match="2 labels for a network of 3 classes"):
        _checkpoint(labels=["cat", "dog"])
    with pytest.raises(ResServeError, match="The weights do not fit resnet32: "):
        _checkpoint(architecture="resnet32").build_model()
    with pytest.raises(ResServeError, match="no network named 'resnet21'"):
        _checkpoint(architecture="resnet21").build_model()
    with pytest.raises(ResServeError, match="another version of ResServe"):
        _checkpoint(arguments={**ARGUMENTS, "depth": 3}).build_model()
