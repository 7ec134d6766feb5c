"""Keeps one model version's worker running: started, replaced when it ends, given up when it keeps ending."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog
from prometheus_client import Counter

from resserve.manifest import Manifest
from service import link
from service.dispatcher import Dispatcher, measured_pace
from service.metrics import ModelMetrics
from service.process import WorkerProcess
from service.slots import Slots

log = structlog.get_logger()

State = Literal["LOADING", "READY", "FAILED"]

# The first restart is at once; a worker that keeps ending waits longer each time.
_BACKOFF = (0.0, 0.1, 0.5, 2.0, 10.0, 30.0)
# This many ends in a row without one answered image are a crash loop: the model is not ready, though still retried.
_CRASH_LOOP = 5


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a ready worker said of itself."""

    device: str
    provider: str
    plan: str


class Supervisor:
    """Owns the worker process of one model version.

    Attributes:
        state: LOADING until the worker is ready, also while it is replaced; FAILED when it refused the version or
            keeps ending.
        reason: why it failed.
        runtime: of the last worker that was ready.
        settled: set once the first worker is READY or FAILED.
    """

    def __init__(
        self,
        name: str,
        order: dict[str, Any],
        slots: Slots,
        dispatcher: Dispatcher,
        *,
        decoders: int,
        bind: Callable[[Runtime], ModelMetrics],
        restarts: Counter,
        changed: Callable[[], None],
    ) -> None:
        """Nothing runs before `start`.

        Args:
            name: the model's.
            order: the fields of `service.worker.loading.Order`.
            slots: shared with the worker.
            dispatcher: is connected to each worker in turn.
            decoders: threads that decode for this worker.
            bind: the metrics of the model on the device that a worker says it is on.
            restarts: counts them, by model and reason.
            changed: called after every change of state.
        """
        self.name = name
        self.state: State = "LOADING"
        self.reason = ""
        self.runtime: Runtime | None = None
        self.settled = asyncio.Event()
        self._order, self._slots, self._dispatcher = order, slots, dispatcher
        self._decoders, self._bind, self._restarts, self._changed = decoders, bind, restarts, changed
        self._process: WorkerProcess | None = None
        self._ends = 0
        self._answered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start a worker."""
        self._started = time.monotonic()
        self._process = WorkerProcess(self._order, self._slots, self._heard, self._gone, self._dispatcher.stalled)

    def stop(self) -> None:
        """End the worker for good."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        if self._process:
            self._process.end("stop")

    def _heard(self, message: link.Message) -> None:
        match message:
            case link.Text(content={"ready": dict(content)}):
                self._ready(content)
            case link.Text(content={"refused": str(reason)}):
                self._stopping = True  # a version that was refused once is refused always
                self._settle("FAILED", reason)
            case _:
                self._dispatcher.heard(message)

    def _ready(self, content: dict[str, Any]) -> None:
        assert self._process
        self._process.ready = True
        plan = content["plan"]
        self.runtime = Runtime(content["device"], content["provider"], _describe(plan))
        pace = measured_pace(content, self._decoders)
        self._dispatcher.connect(self._process.send, pace, content["credits"], self._bind(self.runtime))
        self._settle("READY", "")
        log.info(
            "model ready",
            model=self.name,
            device=self.runtime.device,
            plan=self.runtime.plan,
            seconds=round(time.monotonic() - self._started, 3),
        )

    def _settle(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        if state == "FAILED":
            log.error("model failed", model=self.name, reason=reason)
            self._dispatcher.fail(reason)
        if state != "LOADING":
            self.settled.set()
        self._changed()

    def _gone(self, reason: str) -> None:
        self._process = None
        if self._stopping:
            return
        self._dispatcher.disconnect()
        if self._dispatcher.answered > self._answered:
            self._ends = 0
        self._answered = self._dispatcher.answered
        self._ends += 1
        self._restarts.labels(self.name, reason).inc()
        delay = _BACKOFF[min(self._ends, len(_BACKOFF)) - 1]
        log.error("worker ended", model=self.name, reason=reason, restart_in=delay)
        if self._ends >= _CRASH_LOOP:
            self._settle("FAILED", f"its worker ended {self._ends} times in a row ({reason}).")
        else:
            self._settle("LOADING", f"its worker is being replaced ({reason}).")
        self._timer = asyncio.get_running_loop().call_later(delay, self.start)


def _describe(plan: dict[str, Any]) -> str:
    alone = f", {plan['alone_threads']} threads for a lone image" if plan["alone_threads"] else ""
    sizes = "padded batches" if plan["fixed"] else "batches"
    return f"{plan['lanes']} lanes, {sizes} of up to {plan['max_batch']}{alone}"


def order_for(directory: Path, manifest: Manifest, device: str, lanes: int, max_batch: int) -> dict[str, Any]:
    """The fields of `service.worker.loading.Order` for a version."""
    return {
        "directory": str(directory),
        "files": manifest.files,
        "device": device,
        "height": manifest.input.height,
        "width": manifest.input.width,
        "tolerance": manifest.certificate.tolerance,
        "min_agreement": manifest.certificate.min_top1_agreement,
        "lanes": lanes,
        "max_batch": max_batch,
    }
