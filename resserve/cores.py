"""The processors that this process may use."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Count them: no more than the affinity mask has, and than the cgroup's quota pays for.

    A part of a processor in the quota is left to the threads that are not counted, such as those that take calls: with
    3 busy threads on a quota of 2.5 the kernel would stop all of them for a sixth of every period, up to 17 ms at a
    time. A quota below 1 counts as 1.

    Args:
        root: the folder that has /proc and /sys.
    """
    affinity, quota = len(os.sched_getaffinity(0)), cpu_quota(root)
    return affinity if quota is None else min(affinity, max(1, int(quota)))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """The processor time that this process's cgroups may use, in processors; None where there is no limit.

    A cgroup's limit holds for all below it, so the least of the cgroup and its ancestors counts. In a container those
    outside are out of sight. Version 1: cpu.cfs_quota_us and cpu.cfs_period_us; version 2: cpu.max.
    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files

    Args:
        root: the folder that has /proc and /sys.
    """
    quotas = [quota for folder in _cgroups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroups(root: Path) -> Iterator[Path]:
    """Folders of this process's cgroups that may limit processor time, and of all their ancestors."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, within = rest.partition(":")
        paths.update(dict.fromkeys(names.split(","), within))  # version 2 has no names
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        mount, kind = before.split(), after.split()
        if len(mount) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            controller = ""
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            controller = "cpu"
        else:
            continue
        top, path = _unescape(mount[3]), PurePosixPath(paths.get(controller, "/"))
        # Where another part of the hierarchy is mounted, its top is all that can be seen.
        below = path.relative_to(top).parts if path.is_relative_to(top) else ()
        parts = () if ".." in below else below
        for depth in range(len(parts) + 1):
            yield (root / _unescape(mount[4]).lstrip("/")).joinpath(*parts[:depth])


def _quota(folder: Path) -> float | None:
    """The limit of one cgroup alone, in processors."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        words = [word for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for word in _lines(folder / name)]
    try:
        quota, period = map(int, words)
    except ValueError:  # "max", or no such files, as in the topmost cgroup
        return None
    return quota / period if quota > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _unescape(text: str) -> str:
    r"""The mount table's text: \040 is a space."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
