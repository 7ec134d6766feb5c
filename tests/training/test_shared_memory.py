"""Training with workers where shared memory is small or cannot be written, as in containers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service_process import RESSERVE
from tests.training.conftest import Painter

UNSHARE = shutil.which("unshare")
LOAD = """
import subprocess, sys
from resserve.errors import ResServeError
from training.data import open_data
from training.images import served
from training.loader import Batches, Loader, Pictures
from training.shared_memory import check_shared_memory
data = open_data(sys.argv[1], seed=0)
pictures = Pictures(data.train, served(64, 64), 0)
for options in ("size=64k", "size=4k", "ro"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", "/dev/shm"], check=True)
    for workers in (1, 0):
        loader = Loader(pictures, Batches(len(data.train), 16, 0), workers=workers, pin_memory=False)
        try:
            print(len(list(loader.epoch(1))), "batches")
        except ResServeError as error:
            print(error)
try:
    check_shared_memory(workers=1, batch_bytes=1)
except ResServeError as error:
    print(error)
"""


def within(mount: str, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command that sees another /dev/shm; skips where mounts are not allowed."""
    script = f'mount -t tmpfs -o {mount} tmpfs /dev/shm || exit 77; exec "$@"'
    done = subprocess.run(
        [UNSHARE or "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    if done.returncode == 77 or (done.stderr.startswith("unshare:") and done.returncode == 1):
        pytest.skip("this machine allows no mounts")
    return done


pytestmark = pytest.mark.skipif(UNSHARE is None, reason="there is no unshare")


def test_too_little_is_said_before_training(paint: Painter, tmp_path: Path) -> None:
    """One sentence names shared memory, what it has and what is needed, --shm-size and --workers 0."""
    data = paint("train", blue=12, red=12)
    arguments = ["resnet20", "--data", data, "--out", tmp_path / "out", "--size", 64, "--batch", 16, "--workers", 2]

    done = within("size=64k", RESSERVE, "train", *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("resserve: Shared memory (/dev/shm) has 0.1 MiB free, and 2 workers need 0.9; ")
    assert "--shm-size=1g" in line
    assert line.endswith("or use --workers 0.")


@pytest.mark.parametrize(("mount", "says"), [("size=64k", "0.00 GiB free in /dev/shm"), ("ro", "cannot be written")])
def test_the_doctor_does_not_advise_what_serving_does_not_need(mount: str, says: str, tmp_path: Path) -> None:
    """Little shared memory is neither a note nor a problem: the service needs none, and training has a way around."""
    done = within(mount, RESSERVE, "doctor", "--json", "--repository", tmp_path)

    (finding,) = (finding for finding in json.loads(done.stdout) if finding["subject"] == "shared memory")
    assert finding["state"] == "ok"
    assert says in finding["detail"]
    assert "serving needs none" in finding["detail"]


def test_what_runs_out_later_is_a_sentence_too(paint: Painter) -> None:
    """Where others have filled shared memory since, or it is read-only, readers end with the same advice."""
    done = within("size=1m", sys.executable, "-c", LOAD, paint("train", size=64, blue=12, red=12))

    assert done.returncode == 0, done.stderr
    *lines, read_only = done.stdout.splitlines()
    assert read_only.startswith("Shared memory (/dev/shm), which --workers need, cannot be written; ")
    assert lines[1::2] == ["1 batches"] * 3
    for line in lines[::2]:
        assert line.startswith("Processes that read images ran out of shared memory (/dev/shm); ")
        assert line.endswith("or use --workers 0.")
