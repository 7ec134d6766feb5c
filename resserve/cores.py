"""The processors that this process may use."""

import os


def usable_cores() -> int:
    """Count them, by the affinity mask."""
    return len(os.sched_getaffinity(0))
