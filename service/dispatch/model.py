"""A model version as callers see it in one frontend: its manifest, its queue, and the state its worker is in."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from resserve.repository import Version
from resserve.v1 import classifier_pb2 as pb
from service.dispatch.admission import Policy
from service.dispatch.dispatcher import Dispatcher
from service.images.threads import Decoders
from service.ipc import messages
from service.ipc.slots import Slots
from service.latency import LatencyModel
from service.settings import Settings
from service.telemetry.logs import log
from service.telemetry.metrics import MODEL, Metrics, ModelMetrics

State = Literal["LOADING", "READY", "FAILED"]
STATES: tuple[State, ...] = ("LOADING", "READY", "FAILED")

# More than any plan has credits for. Pages are taken when a slot is first used, and the last one freed goes first.
_SLOTS = 256

# Seconds that the first image is taken to decode in; learned from then on.
_FIRST_DECODE = 0.003


class Model:
    """One version: served, or refused with a reason.

    Attributes:
        name: of the model.
        version: on disk.
        state: LOADING until a worker is ready, also while it is replaced; FAILED when the version was refused or its
            workers keep ending.
        reason: why it is not ready.
        settled: set once it was READY or FAILED.
        slots: shared with the worker; None where the manifest cannot be read.
        dispatcher: takes its images; None likewise.
        metrics: once a worker was ready.
    """

    def __init__(
        self,
        version: Version,
        settings: Settings,
        decoders: Decoders,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after every change of state."""
        self.name = version.name
        self.version = version
        self.state: State = "LOADING"
        self.reason = ""
        self.settled = asyncio.Event()
        self.slots: Slots | None = None
        self.dispatcher: Dispatcher | None = None
        self.metrics: ModelMetrics | None = None
        self._decoders, self._all_metrics, self._changed = decoders, metrics, changed
        self._plan = ""
        self._served = pb.ServedModel(name=version.name, version=version.number)
        manifest = version.manifest
        if manifest is None:
            self.move("FAILED", version.problem)
            return
        self._served.architecture, self._served.precision = manifest.architecture, manifest.precision
        self._served.untrained = manifest.untrained
        self.slots = Slots.create(_SLOTS, manifest.input.height, manifest.input.width, len(manifest.labels))
        policy = Policy(settings.order, settings.wait_share)
        self.dispatcher = Dispatcher(version.name, manifest.input, policy, self.slots, decoders)

    def connect(self, ready: dict[str, Any], send: Callable[[messages.Message], None]) -> None:
        """A worker is ready.

        Args:
            ready: what it said of itself.
            send: takes messages to it.
        """
        assert self.dispatcher
        self._served.device, self._served.provider = ready["device"], ready["provider"]
        self._plan = _describe(ready["plan"])
        self.metrics = ModelMetrics(self._all_metrics, self.labels)
        self.dispatcher.connect(send, _latency(ready, self._decoders.count), ready["credits"], self.metrics)
        self.move("READY", "")

    def disconnect(self, reason: str) -> None:
        """The worker has ended, and another will come."""
        if self.dispatcher:
            self.dispatcher.disconnect()
        self.move("LOADING", reason)

    def move(self, state: State, reason: str) -> None:
        """Change the state."""
        self.state, self.reason = state, reason
        if state == "FAILED":
            log.error("model failed", model=self.name, reason=reason)
            if self.dispatcher:
                self.dispatcher.fail(reason)
        if state != "LOADING":
            self.settled.set()
        self._changed()

    @property
    def served(self) -> pb.ServedModel:
        """What every answer says of the model."""
        return self._served

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the logits."""
        return self.version.manifest.labels if self.version.manifest else []

    @property
    def labels(self) -> dict[str, str]:
        """The values of the metric labels MODEL."""
        return {name: str(getattr(self._served, "name" if name == "model" else name)) for name in MODEL}

    @property
    def status(self) -> pb.ModelStatus:
        """Everything there is to say."""
        status = pb.ModelStatus(
            model=self._served, state=f"MODEL_STATE_{self.state}", reason=self.reason, plan=self._plan
        )
        if manifest := self.version.manifest:
            status.parameters, status.multiply_adds = manifest.parameters, manifest.multiply_adds
            status.input_height, status.input_width = manifest.input.height, manifest.input.width
            status.labels.extend(manifest.labels)
            status.metrics.update(manifest.metrics)
            status.metrics_data = manifest.metrics_data
        return status


def _describe(plan: dict[str, Any]) -> str:
    solo = f", {plan['solo_threads']} threads for a lone image" if plan["solo_threads"] else ""
    sizes = "padded batches" if plan["fixed"] else "batches"
    return f"{plan['lanes']} lanes, {sizes} of up to {plan['max_batch']}{solo}"


def _latency(ready: dict[str, Any], decoders: int) -> LatencyModel:
    """As the worker measured it when it loaded."""
    plan, measured = ready["plan"], ready["measured"]
    return LatencyModel(
        lanes=plan["lanes"],
        max_batch=plan["max_batch"],
        runs={int(size): seconds for size, seconds in measured["runs"].items()},
        solo=measured["solo"],
        decode=_FIRST_DECODE,
        decoders=decoders,
    )
