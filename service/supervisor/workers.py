"""Keeps one model version's worker running: started, replaced when it ends, given up when it keeps ending."""

import asyncio
import time

from prometheus_client import Counter

from service.dispatch.model import Model
from service.ipc import messages
from service.settings import Settings
from service.supervisor.frontends import Siblings
from service.supervisor.launch import Launched, launch
from service.supervisor.load_request import order
from service.supervisor.worker_process import WorkerProcess
from service.telemetry.logs import log

# Seconds: the first restart is at once; a worker that keeps ending waits longer each time.
_BACKOFF = (0.0, 0.1, 0.5, 2.0, 10.0, 30.0)
# This many ends in a row without one answered image are a crash loop: the model is not ready, though still retried.
_CRASH_LOOP = 5

# Seconds until it is tried again where the system has no process, memory or descriptor for a worker.
_NO_START = 1.0


class Supervisor:
    """Owns the worker process of one model version, and tells every frontend what becomes of it."""

    def __init__(
        self, model: Model, settings: Settings, launched: Launched, restarts: Counter, siblings: Siblings
    ) -> None:
        """Take over the first worker.

        Args:
            model: in this frontend.
            settings: of the service.
            launched: the first worker, with its order.
            restarts: counts them, by model and reason.
            siblings: the other frontends.
        """
        self._model, self._siblings = model, siblings
        self._order = order(model.version, settings)
        self._load_seconds = settings.load_seconds
        self._restarts = restarts
        self._process: WorkerProcess | None = None
        self._ends = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._watch(launched)

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End the worker for good."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        if self._process:
            self._process.end("stop")

    def _start(self) -> None:
        try:
            launched = launch()
        except OSError as error:
            log.error("worker cannot start", model=self._model.name, error=str(error), again_in=_NO_START)
            self._timer = asyncio.get_running_loop().call_later(_NO_START, self._start)
            return
        launched.order(self._order)
        self._watch(launched)

    def _watch(self, launched: Launched) -> None:
        assert self._model.slots and self._model.dispatcher
        self._started = time.monotonic()
        self._process = WorkerProcess(
            launched,
            self._model.slots,
            heard=self._heard,
            gone=self._gone,
            stalled=self._model.dispatcher.stalled,
            load_seconds=self._load_seconds,
        )

    def _heard(self, message: messages.Message) -> None:
        assert self._process and self._model.dispatcher
        match message:
            case messages.Text(content={"ready": dict(ready)}):
                self._process.begin()
                self._model.connect(ready, self._process.send)
                self._siblings.connect(self._model, ready, self._process)
                seconds = round(time.monotonic() - self._started, 3)
                log.info("model ready", model=self._model.name, seconds=seconds, plan=self._model.status.plan)
            case messages.Text(content={"refused": str(reason)}):
                self._stopping = True  # a version that was refused once is refused always
                self._move_to_failed(reason)
            case messages.Text(content={"answered": True}):
                self._ends = 0
            case _:
                self._model.dispatcher.heard(message)

    def _gone(self, reason: str) -> None:
        self._process = None
        if self._stopping:
            return
        self._ends += 1
        self._restarts.labels(self._model.name, reason).inc()
        delay = _BACKOFF[min(self._ends, len(_BACKOFF)) - 1]
        log.error("worker ended", model=self._model.name, reason=reason, restart_in=delay)
        self._model.disconnect(f"its worker is being replaced ({reason}).")
        self._siblings.move(self._model)
        if self._ends >= _CRASH_LOOP:
            self._move_to_failed(f"its worker ended {self._ends} times in a row ({reason}).")
        self._timer = asyncio.get_running_loop().call_later(delay, self._start)

    def _move_to_failed(self, reason: str) -> None:
        self._model.move("FAILED", reason)
        self._siblings.move(self._model)
