"""Starts worker and frontend processes, each with one end of a control connection."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from service.ipc import connection

# The lanes are the parallelism: a BLAS or OpenMP pool beside them would only take their cores.
_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Launched:
    """A process, and the supervisor's end of the connection to it; it ends when that is closed."""

    process: subprocess.Popen[bytes]
    sock: socket.socket


def launch_worker() -> Launched:
    """Start a worker, which waits to be told what to load.

    Raises:
        OSError: the system has no process, memory or descriptor for it.
    """
    return _launch("service.worker", {**os.environ, **_WORKER_ENVIRONMENT, "GLIBC_TUNABLES": _tunables()})


def launch_frontend() -> Launched:
    """Start a frontend, which waits for its settings.

    Raises:
        OSError: the system has no process, memory or descriptor for it.
    """
    return _launch("service.frontend", os.environ)


def _launch(module: str, environment: Mapping[str, str]) -> Launched:
    mine, theirs = connection.pair()
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment,
            )
    except OSError:
        mine.close()
        raise
    return Launched(process, mine)


def _tunables() -> str:
    """Glibc's settings, with huge pages for what is allocated: small ones cost int8 models 4 % (docs/performance.md).

    The system gives them where it can (`/sys/kernel/mm/transparent_hugepage/enabled` is not "never").
    """
    return ":".join(filter(None, (os.environ.get("GLIBC_TUNABLES"), "glibc.malloc.hugetlb=1")))
