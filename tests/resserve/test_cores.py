"""The processors that may be used: the affinity mask and the cgroup's quota, whichever is less."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resserve.cores import cpu_quota, usable_cores

Root = Callable[..., Path]
V1, V2 = "cgroup cgroup rw,cpu,cpuacct", "cgroup2 cgroup rw,nsdelegate"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Writes a file system's /proc and /sys: `root(cgroup, mounts, {"folder": "quota period"})`; 32 in the mask."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)))

    def write(cgroup: str, mounts: list[str], quotas: dict[str, str]) -> Path:
        own = tmp_path / "proc" / "self"
        own.mkdir(parents=True)
        (own / "cgroup").write_text(cgroup)
        (own / "mountinfo").write_text("\n".join(["22 1 8:1 / / rw - ext4 /dev/sda1 rw", "", *mounts]) + "\n")
        for folder, content in quotas.items():
            path = tmp_path / folder
            path.mkdir(parents=True, exist_ok=True)
            if "v1" in folder:
                quota, period = content.split()
                (path / "cpu.cfs_quota_us").write_text(quota + "\n")
                (path / "cpu.cfs_period_us").write_text(period + "\n")
            else:
                (path / "cpu.max").write_text(content + "\n")
        return tmp_path

    return write


def v2(root: Root, *quotas: str) -> Path:
    """A process in a/b/c of version 2's hierarchy; quotas are those of the top, a, a/b and a/b/c."""
    folders = ["cg", "cg/a", "cg/a/b", "cg/a/b/c"]
    return root("0::/a/b/c\n", [f"31 22 0:28 / /cg rw - {V2}"], dict(zip(folders, quotas, strict=False)))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 32),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("299999 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("6400000 100000", 32),
        ("10000 5000", 2),
        ("nonsense", 32),
        ("100000 0", 32),
        ("", 32),
    ],
)
def test_quotas_of_version_2(root: Root, quota: str, expected: int) -> None:
    """Fractions are left over, below 1 is 1, and no quota is more than the affinity mask."""
    assert usable_cores(v2(root, "", "", "", quota)) == expected


def test_the_least_of_all_ancestors_counts(root: Root) -> None:
    """A pod's limit holds for its containers, whatever theirs is."""
    folder = v2(root, "max 100000", "300000 100000", "max 100000", "800000 100000")

    assert (usable_cores(folder), cpu_quota(folder)) == (3, 3.0)


def test_version_1_by_mount_and_controller(root: Root) -> None:
    """The quota is found where the controller is mounted, under a name that has a space, below the mount's top."""
    mounts = [
        "33 22 0:30 /docker/x /cgroup/v1\\040cpu rw - cgroup cgroup rw,cpu,cpuacct",
        "34 22 0:31 /docker/x /cgroup/v1memory rw - cgroup cgroup rw,memory",
    ]
    quotas = {
        "cgroup/v1 cpu": "700000 100000",
        "cgroup/v1 cpu/inner": "150000 50000",
        "cgroup/v1memory": "100000 100000",
    }
    folder = root("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x/inner\n0::/\n", mounts, quotas)

    assert cpu_quota(folder) == 3.0


def test_both_versions_side_by_side(root: Root) -> None:
    """Whichever of them has the controller has the quota; version 1's -1 is none."""
    mounts = [f"31 22 0:28 / /v2 rw - {V2}", f"32 22 0:29 / /v1cpu rw - {V1}"]
    quotas = {"v2": "", "v1cpu": "-1 100000", "v1cpu/pod": "400000 100000", "v1cpu/pod/x": "-1 100000"}

    assert usable_cores(root("2:cpu,cpuacct:/pod/x\n0::/\n", mounts, quotas)) == 4


@pytest.mark.parametrize("path", ["/docker/other", "/../../outside"])
def test_a_cgroup_that_cannot_be_seen(root: Root, path: str) -> None:
    """Where the process's folder is not below the mount, the mount's top has the quota."""
    mounts = [f"33 22 0:30 /docker/x /v1cpu rw - {V1}"]

    assert usable_cores(root(f"4:cpu:{path}\n", mounts, {"v1cpu": "200000 100000"})) == 2


def test_no_proc(tmp_path: Path) -> None:
    """Where nothing can be read there is no limit but the mask."""
    assert (cpu_quota(tmp_path), usable_cores(tmp_path)) == (None, len(os.sched_getaffinity(0)))
