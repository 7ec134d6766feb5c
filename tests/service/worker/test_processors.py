"""The plan follows the processors that the service may use, and what the operator sets."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from resserve.cores import usable_cores
from tests.support.service_process import Server


@pytest.fixture
def one_processor() -> Iterator[list[str]]:
    """A command that runs the rest of its line in a real cgroup with a quota of 1.5 processors."""
    top = Path("/sys/fs/cgroup")
    folder = (top if (top / "cgroup.controllers").exists() else top / "cpu") / f"resserve-test-{os.getpid()}"
    try:
        folder.mkdir()
        if (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text("150000 100000")
        else:
            (folder / "cpu.cfs_period_us").write_text("100000")
            (folder / "cpu.cfs_quota_us").write_text("150000")
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        yield ["sh", "-c", 'echo $$ > "$0"/cgroup.procs && exec "$@"', str(folder)]
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            (folder.parent / "cgroup.procs").write_text(pid)
        folder.rmdir()


def test_a_real_quota_is_the_service_s_plan(
    one_processor: list[str], serve: Callable[..., Server], repository: Path
) -> None:
    """Under a quota of 1.5 processors a model has one lane and no threads for solo runs, and the doctor says why."""
    server = serve(repository, "--model", "alpha", under=one_processor)
    (event,) = server.events("model ready")
    doctor = [*one_processor, sys.executable, "-m", "resserve", "doctor", "--json", "--repository", str(repository)]
    found = json.loads(subprocess.run(doctor, capture_output=True, text=True).stdout)
    (cores,) = [finding["detail"] for finding in found if finding["subject"] == "cores"]

    assert str(event["plan"]).startswith("1 lanes") and "lone image" not in str(event["plan"])
    assert cores == f"1 usable: {len(os.sched_getaffinity(0))} in the affinity mask, a cgroup quota of 1.5"


def test_training_follows_the_quota(one_processor: list[str]) -> None:
    """The verbs that use PyTorch give it as many threads as the quota pays for."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this machine has one processor, quota or not")
    program = (
        "import sys; sys.argv = ['resserve', '--version']\n"
        "from resserve.cli import main\n"
        "try: main()\n"
        "except SystemExit: import torch; print(torch.get_num_threads())"
    )
    done = subprocess.run([*one_processor, sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1:] == ["1"], done.stderr


def test_the_operator_sets_lanes_and_solo_threads(
    serve: Callable[..., Server], repository: Path, tmp_path: Path
) -> None:
    """What is set is the plan, at the first start and later; 1 thread is a lane's, and what is not set is measured."""
    own = tmp_path / "weights"
    shutil.copytree(repository / "alpha", own / "alpha", ignore=shutil.ignore_patterns(".optimised"))
    cores = usable_cores()
    usual = f"{cores} lanes", f"{cores} threads for a lone image" if cores > 1 else ""
    for settings, lanes, solo in (
        ({"RESSERVE_LANES": "1", "RESSERVE_SOLO_THREADS": "3"}, "1 lanes", "3 threads for a lone image"),
        ({"RESSERVE_LANES": "3", "RESSERVE_SOLO_THREADS": "1"}, "3 lanes", ""),
        ({}, *usual),
    ):
        server = serve(own, **settings)
        (event,) = server.events("model ready")
        plan = str(event["plan"]).split(", ")
        assert (plan[0], plan[2:]) == (lanes, [solo] if solo else [])
        assert server.stop() == 0
