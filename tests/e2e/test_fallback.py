"""A damaged newest version at start: the newest whole one is served, and the damage is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faulty_models import CALM, answer, picture, write_version
from tests.support.service_process import Server, refuse

Serve = Callable[..., Server]


def flip(version: Path) -> None:
    """One byte of the model differs."""
    data = bytearray((version / "model.onnx").read_bytes())
    data[-1] ^= 1
    (version / "model.onnx").write_bytes(data)


def cut(version: Path) -> None:
    """The copy ended early."""
    (version / "model.onnx").write_bytes((version / "model.onnx").read_bytes()[:-10])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped byte": (flip, "was altered"),
    "half a file": (cut, "bytes instead of"),
    "no file": (lambda version: (version / "golden.npz").unlink(), "is missing"),
    "no manifest": (lambda version: (version / "manifest.json").write_text("{"), "manifest"),
}


@pytest.fixture
def hazards(tmp_path: Path) -> Path:
    """Three versions of one model."""
    for number in (1, 2, 3):
        write_version(tmp_path / "weights", "error", number)
    return tmp_path / "weights"


@pytest.mark.parametrize("damage", DAMAGE)
def test_newest_whole_version_is_served(serve: Serve, hazards: Path, damage: str) -> None:
    """Calls are answered by it; the damaged one is shown FAILED with its reason by readiness, models and metrics."""
    harm, reason = DAMAGE[damage]
    harm(hazards / "error" / "3")
    server = serve(hazards)
    answered = server.classify(picture(CALM), logits=True)

    assert answered.model.version == 2 and list(answered.results[0].logits) == answer(CALM)
    status, body = server.get("/readyz")
    assert status == 200 and "version 3 failed" in body and reason in body
    states = {
        labels["version"]: labels["state"] for _, labels, value in server.samples("resserve_model_state") if value == 1
    }
    assert states == {"2": "READY", "3": "FAILED"}


def test_damage_goes_down_to_the_first_whole_version(serve: Serve, hazards: Path) -> None:
    """However many are damaged."""
    flip(hazards / "error" / "3")
    cut(hazards / "error" / "2")

    assert serve(hazards).classify(picture(CALM)).model.version == 1


def test_version_that_was_asked_for_is_served_or_none(hazards: Path, tmp_path: Path) -> None:
    """A number on the command line is not second-guessed."""
    flip(hazards / "error" / "3")
    code, said = refuse(hazards, tmp_path, "--model", "error@3")

    assert code == 1 and "was altered" in said
