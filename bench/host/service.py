"""The service as a child process: started, watched from outside, ended for certain."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from bench.load.protocol import PROTOCOLS
from resserve.errors import ResServeError

RESSERVE = str(Path(sys.executable).parent / "resserve")
_START_SECONDS = 180.0
_STOP_SECONDS = 30.0
_ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Service:
    """A running `resserve serve`."""

    process: subprocess.Popen[bytes]
    address: str  # of gRPC
    http: str  # http://host:port
    spawned: float  # time.monotonic() just before

    def pss_bytes(self) -> int:
        """The proportional set size of all its processes: shared pages are counted once in all."""
        return sum(process.memory_full_info().pss for process in self._tree())

    def cpu_seconds(self) -> float:
        """User and system time of all its living processes, to the kernel's tick of 10 ms."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(one.user + one.system for one in times)

    def first_answer(self, model: str, image: bytes) -> float:
        """Ask for one image, and give the seconds from the spawn to the good answer.

        Raises:
            ResServeError: the answer was an error.
        """
        wire = PROTOCOLS["resserve"]
        with grpc.insecure_channel(self.address) as channel:
            classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(wire.method)
            try:
                code = wire.code(classify(wire.request(image, model), timeout=_ANSWER_SECONDS))
            except grpc.RpcError as error:
                raise ResServeError(f"{model} did not give a first answer: {error.details()}") from None
        if code != 0:
            raise ResServeError(f"The first answer of {model} was an error, code {code}.")
        return time.monotonic() - self.spawned

    def _tree(self) -> Iterator[psutil.Process]:
        root = psutil.Process(self.process.pid)
        for process in (root, *root.children(recursive=True)):
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.NoSuchProcess:
                continue


@contextmanager
def serving(repository: Path, models: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Serve models of a repository on free ports, and stop the service and every process of it at the end.

    Args:
        repository: the folder with `<model>/<version>/`.
        models: names to serve.
        environment: RESSERVE_* settings beside this process's own environment.

    Raises:
        ResServeError: it did not become ready; its log's last lines are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="resserve-bench-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "log"
        command = [RESSERVE, "serve", "--repository", str(repository), "--port", "0", "--http-port", "0"]
        command += ["--ready-file", str(ready), *(part for name in models for part in ("--model", name))]
        with log.open("wb") as stderr:
            begun = time.monotonic()
            process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C reaches the measuring process, which stops the service itself
            )
            try:
                _await_ready(process, ready, log)
                found = json.loads(ready.read_text())
                yield Service(process, found["grpc"], found["http"], begun)
            finally:
                _stop(process)


def _await_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > until:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            state = "did not become ready" if process.poll() is None else f"ended with code {process.returncode}"
            raise ResServeError(f"`{' '.join(process.args)}` {state}:\n{tail}")  # type: ignore[arg-type]
        time.sleep(0.001)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for the whole session, so that nothing outlives a measurement."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Sampler:
    """Reads a figure again and again in a thread while a block runs, and keeps the highest."""

    def __init__(self, read: Callable[[], float], every: float = 0.2) -> None:
        self._read = read
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.highest = 0.0

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        stopped = False
        while not stopped:  # the last reading comes after the block has ended
            stopped = self._stop.wait(self._every)
            with suppress(psutil.Error):  # a process of the tree ended while it was read
                self.highest = max(self.highest, self._read())
