"""Starting a worker process, before anything heavy is imported: both then import at the same time."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from service.ipc import messages


@dataclass(frozen=True, slots=True)
class Launched:
    """A worker process, and the frontend's end of the channel to it."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    def order(self, order: dict[str, Any]) -> None:
        """Say what it is to load: the fields of `service.worker.loading.Order`."""
        self.channel.send(messages.encode(messages.Text({"order": order})))


# The lanes are the parallelism: a BLAS or OpenMP pool beside them would only take their cores.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_ahead: list[Launched] = []


def launch_ahead() -> None:
    """Start the worker that the next `launch` gives, while this process still finds out what it is to do."""
    _ahead.append(_start())


def launch() -> Launched:
    """A worker that waits for its order, and ends when the channel is closed."""
    return _ahead.pop() if _ahead else _start()


def _start() -> Launched:
    mine, theirs = messages.pair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.worker", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT, "GLIBC_TUNABLES": _tunables()},
        )
    return Launched(process, mine)


def _tunables() -> str:
    """Glibc's settings, with huge pages for what is allocated: small ones cost int8 models 4 % (docs/performance.md).

    The system gives them where it can (`/sys/kernel/mm/transparent_hugepage/enabled` is not "never").
    """
    return ":".join(filter(None, (os.environ.get("GLIBC_TUNABLES"), "glibc.malloc.hugetlb=1")))
