"""Runs as processes, stopped from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from models import load_checkpoint
from tests.training.conftest import Painter

PROGRAM = "from resserve.cli import main; main()"
EPOCHS = 6


@pytest.fixture
def arguments(paint: Painter) -> list[str]:
    """`resserve train` on two colours, for long enough to be stopped in the middle."""
    paint("val", blue=8, red=8)
    data = paint("train", blue=48, red=48)
    return ["train", "resnet20", "--data", str(data), "--epochs", str(EPOCHS), "--batch", "8", "--size", "32"]


def command(arguments: list[str], out: Path, *more: str, program: str = PROGRAM) -> list[str]:
    return [sys.executable, "-c", program, *arguments, "--out", str(out), *more]


def finish(arguments: list[str], out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(arguments, out, *more), capture_output=True, text=True, timeout=200)


@contextmanager
def started(arguments: list[str], out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, as a terminal starts it, when its first epoch is saved."""
    with subprocess.Popen(
        command(arguments, out, *more), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            while not (out / "checkpoint.pt").exists():
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


def test_a_killed_run_resumes_exactly(arguments: list[str], tmp_path: Path) -> None:
    """SIGKILL in the middle loses at most an epoch: the resumed run ends with the uninterrupted one's weights."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with started(arguments, killed, "--workers", "1") as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    done = load_checkpoint(killed / "checkpoint.pt").epoch
    assert 1 <= done < EPOCHS

    resumed, uninterrupted = finish(arguments, killed, "--resume"), finish(arguments, whole)

    assert (resumed.returncode, uninterrupted.returncode) == (0, 0), resumed.stderr
    assert f"Going on after epoch {done} of {EPOCHS}" in resumed.stderr
    got, expected = load_checkpoint(killed / "checkpoint.pt"), load_checkpoint(whole / "checkpoint.pt")
    assert got.epoch == EPOCHS
    assert all(torch.equal(value, got.state_dict[name]) for name, value in expected.state_dict.items())
    assert got.metrics == expected.metrics
    assert workers
    assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_ctrl_c(arguments: list[str], tmp_path: Path) -> None:
    """Ctrl-C, which reaches workers too, leaves the last checkpoint, no process, and one sentence; exit code 130."""
    with started(arguments, tmp_path / "out", "--workers", "2") as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in told
    assert told.splitlines()[-1] == "resserve: Stopped; the last whole epoch is saved: go on with --resume."
    assert 1 <= load_checkpoint(tmp_path / "out/checkpoint.pt").epoch < EPOCHS
    assert workers
    assert psutil.wait_procs(workers, timeout=30)[1] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signals_of_containers_and_terminals(arguments: list[str], tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM, as a container gets it, and SIGHUP, which reaches workers too, end a run as Ctrl-C does."""
    with started(arguments, tmp_path / "out", "--workers", "2") as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        if number == signal.SIGHUP:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, told = process.communicate(timeout=60)

    assert process.returncode == 128 + number and "Traceback" not in told
    assert told.splitlines()[-1] == "resserve: Stopped; the last whole epoch is saved: go on with --resume."
    assert (tmp_path / "out/curves.png").exists()
    assert psutil.wait_procs(workers, timeout=30)[1] == []


FIRST = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")


def test_first_process_of_a_container_ends_on_sigterm(arguments: list[str], tmp_path: Path) -> None:
    """PID 1 has no default action for signals, and ends all the same."""
    if subprocess.run([*FIRST, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow a PID namespace of one's own")
    out = tmp_path / "out"
    with subprocess.Popen(
        [*FIRST, *command(arguments, out)], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as outer:
        while not (out / "checkpoint.pt").exists():
            assert outer.poll() is None
            time.sleep(0.005)
        (run,) = psutil.Process(outer.pid).children()
        run.send_signal(signal.SIGTERM)
        _, told = outer.communicate(timeout=60)

    assert "resserve: Stopped; the last whole epoch is saved" in told


def test_ignored_hang_up_stays_ignored(arguments: list[str], tmp_path: Path) -> None:
    """Under nohup(1) a closed terminal does not end the run."""
    out = tmp_path / "out"
    ignoring = "trap '' HUP; exec \"$@\""
    with subprocess.Popen(
        ["sh", "-c", ignoring, "sh", *command(arguments, out, "--epochs", "2")], stderr=subprocess.PIPE
    ) as process:
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=200)

    assert process.returncode == 0 and load_checkpoint(out / "checkpoint.pt").epoch == 2


def test_a_full_disk(arguments: list[str], tmp_path: Path) -> None:
    """When a checkpoint can no longer be written, the last one stays whole, and one sentence says why."""
    out = tmp_path / "out"
    with started(arguments, out) as process:
        process.kill()
    before = (out / "checkpoint.pt").read_bytes()
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); {PROGRAM}"

    ended = subprocess.run(
        command(arguments, out, "--resume", program=limited), capture_output=True, text=True, timeout=200
    )

    assert ended.returncode == 1
    sentence = f"resserve: Cannot write the checkpoint {out}/checkpoint.pt (File too large); "
    assert ended.stderr.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in ended.stderr
    assert (out / "checkpoint.pt").read_bytes() == before
    assert finish(arguments, out, "--resume").returncode == 0
