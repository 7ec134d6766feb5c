"""Keeps one version's worker running: started, replaced when it ends, given up when it keeps ending."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from resserve.model_key import ModelKey
from service.ipc import connection
from service.ipc.messages import FirstAnswer, Load, Loaded, Refused
from service.supervisor.launch import Launched, launch_worker
from service.supervisor.worker_process import WorkerProcess
from service.telemetry.logs import log

# Seconds: the first restart is at once; a worker that keeps ending waits longer each time.
_BACKOFF = (0.0, 0.1, 0.5, 2.0, 10.0, 30.0)
# This many ends in a row without one answered image are a crash loop: the model is not ready, though still retried.
_CRASH_LOOP = 5

# Seconds until it is tried again where the system has no process, memory or descriptor for a worker.
NO_START_SECONDS = 1.0


class WorkerEvents(Protocol):
    """Takes note of a worker's life; each call names the version."""

    def on_loaded(self, key: ModelKey, process: WorkerProcess, loaded: Loaded) -> None:
        """The worker is ready for frontends."""

    def on_lost(self, key: ModelKey, reason: str) -> None:
        """The worker has ended, and another will come; `reason` is "crash" or "hang"."""

    def on_refused(self, key: ModelKey, reason: str) -> None:
        """The version cannot be loaded, now or ever."""

    def on_given_up(self, key: ModelKey, reason: str) -> None:
        """The version's workers keep ending; it is tried again now and then."""


class SupervisedWorker:
    """Owns the worker process of one version."""

    def __init__(self, request: Load, launched: Launched, load_seconds: float, events: WorkerEvents) -> None:
        """Take over the first worker.

        Args:
            request: tells a worker what to load.
            launched: was sent the request.
            load_seconds: a worker that takes longer to load hangs.
            events: is told of everything.
        """
        self._request, self._load_seconds, self._events = request, load_seconds, events
        self._ends = 0
        self._cancel_restart: Callable[[], None] = lambda: None
        self._is_closed = False
        self._process = self._watch(launched)

    @property
    def pid(self) -> int:
        """Process id of the worker, or of the last one while it is replaced."""
        return self._process.pid

    def close(self) -> None:
        """End the worker for good."""
        self._is_closed = True
        self._cancel_restart()
        self._process.kill("stop")

    def _start(self) -> None:
        try:
            launched = launch_worker()
        except OSError as error:
            log.error("worker cannot start", model=self._request.key.name, error=str(error), again_in=NO_START_SECONDS)
            self._start_later(NO_START_SECONDS)
            return
        connection.send(launched.sock, self._request)
        self._process = self._watch(launched)

    def _start_later(self, seconds: float) -> None:
        self._cancel_restart = asyncio.get_running_loop().call_later(seconds, self._start).cancel

    def _watch(self, launched: Launched) -> WorkerProcess:
        return WorkerProcess(
            launched, load_seconds=self._load_seconds, on_message=self._on_message, on_exit=self._on_exit
        )

    def _on_message(self, message: Loaded | Refused | FirstAnswer) -> None:
        match message:
            case Loaded():
                self._events.on_loaded(self._request.key, self._process, message)
            case Refused(reason):
                self._is_closed = True  # a version that was refused once is refused always
                self._events.on_refused(self._request.key, reason)
            case FirstAnswer():
                self._ends = 0

    def _on_exit(self, reason: str) -> None:
        if self._is_closed:
            return
        key = self._request.key
        self._ends += 1
        delay = _BACKOFF[min(self._ends, len(_BACKOFF)) - 1]
        log.error("worker ended", model=key.name, worker=self._process.pid, reason=reason, restart_in=delay)
        self._events.on_lost(key, reason)
        if self._ends >= _CRASH_LOOP:
            self._events.on_given_up(key, f"its worker ended {self._ends} times in a row ({reason}).")
        self._start_later(delay)
