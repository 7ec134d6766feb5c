"""A model version in one frontend: served, or broken."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from resserve.manifest import Manifest
from resserve.model_key import ModelKey
from service.dispatch.admission import Policy
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.in_flight import AttachedWorker
from service.dispatch.quarantine import Quarantine
from service.images.threads import Decoders
from service.ipc.connection import Connection
from service.ipc.messages import Loaded, State
from service.ipc.slots import Slots
from service.latency import LatencyModel
from service.telemetry.metrics import Metrics, ModelMetrics

# More than any plan has credits for. Pages are taken when a slot is first used, and the last one freed goes first.
SLOTS = 256

# Seconds that the first image is taken to decode in; learned from then on.
_FIRST_DECODE = 0.003


@dataclass(frozen=True, slots=True)
class Description:
    """Facts about a version, for every protocol to translate.

    Attributes:
        device, provider, plan: of its worker; empty before the first was ready.
        state, reason: the reason says why it is not ready.
        input: height and width in pixels.
        labels: class names, in the order of the logits.
        metrics, metrics_data: as measured at training, and the data they were measured on.
    """

    name: str
    version: int
    state: State
    reason: str
    architecture: str = ""
    precision: str = ""
    untrained: bool = False
    device: str = ""
    provider: str = ""
    plan: str = ""
    parameters: int = 0
    multiply_adds: int = 0
    input: tuple[int, int] = (0, 0)
    labels: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_data: str = ""

    @property
    def metric_labels(self) -> dict[str, str]:
        """Values of the metric labels MODEL."""
        return {
            "model": self.name,
            "version": str(self.version),
            "architecture": self.architecture,
            "precision": self.precision,
            "device": self.device,
        }


class BrokenVersion:
    """A version whose manifest cannot be used."""

    is_settled = True
    metrics = None

    def __init__(self, key: ModelKey, reason: str) -> None:
        """`reason` is a sentence for callers."""
        self.key = key
        self.description = Description(key.name, key.version, "FAILED", reason)

    def close(self) -> None:
        """Hold nothing that could be given back."""


class ServedVersion:
    """A version that workers answer for.

    Attributes:
        key: its name and number.
        description: as of now.
        input_spec: how its pixels are made of an image.
        dispatcher: takes its images.
        metrics: its series, once a worker was ready.
        is_settled: it was READY or FAILED once.
    """

    def __init__(
        self,
        key: ModelKey,
        manifest: Manifest,
        policy: Policy,
        decoders: Decoders,
        metrics: Metrics,
        *,
        on_change: Callable[[], None],
        on_block: Callable[[ModelKey, bytes], None],
    ) -> None:
        """Start without a worker.

        Args:
            key: its name and number.
            manifest: of the version.
            policy: order and limits of the queue.
            decoders: threads.
            metrics: of this process.
            on_change: called after every change of state.
            on_block: called with the key and the SHA-256 of each image that ends two workers.
        """
        self.key, self.input_spec = key, manifest.input
        self.description = _describe(key, manifest)
        self.metrics: ModelMetrics | None = None
        self.is_settled = False
        self._all_metrics, self._decoders, self._on_change = metrics, decoders, on_change
        self._slots = Slots.create(SLOTS, manifest.input.height, manifest.input.width, len(manifest.labels))
        quarantine = Quarantine(key.name, partial(on_block, key))
        self.dispatcher = Dispatcher(key.name, policy, self._slots, decoders, quarantine)
        self._connection: Connection | None = None

    def attach(self, sock: socket.socket, loaded: Loaded) -> None:
        """Use a worker.

        Args:
            sock: this end of the connection to it.
            loaded: its own account of itself.
        """
        self._hang_up()
        connection = Connection(sock, self.dispatcher.on_message, self._detach)
        connection.send(self._slots.shape, self._slots.fd)
        self._connection = connection
        plan = describe_plan(loaded)
        self.description = replace(self.description, device=loaded.device, provider=loaded.provider, plan=plan)
        self.metrics = ModelMetrics(self._all_metrics, self.description.metric_labels)
        latency = LatencyModel(
            lanes=loaded.lanes,
            max_batch=loaded.max_batch,
            runs=dict(loaded.run_seconds),
            solo=loaded.solo_seconds,
            decode=_FIRST_DECODE,
            decoders=self._decoders.count,
        )
        self.dispatcher.attach(AttachedWorker(connection.send, latency, loaded.credits, self.metrics))
        self.set_state("READY", "")

    def set_state(self, state: State, reason: str) -> None:
        """Change the state.

        Args:
            state: LOADING also while a worker is replaced; FAILED where workers cannot load it, or keep ending.
            reason: a sentence for callers.
        """
        self.description = replace(self.description, state=state, reason=reason)
        if state == "FAILED":
            self._hang_up()  # or its end, when it is noticed, would make the version one that waits for a worker
            self.dispatcher.fail(reason)
        self.is_settled = self.is_settled or state != "LOADING"
        self._on_change()

    def close(self) -> None:
        """Refuse what waits, and give back the memory."""
        self._hang_up()
        self.dispatcher.fail("it is not served any more.")
        self._slots.close()

    def _hang_up(self) -> None:
        if self._connection and self._connection.is_open:
            self._connection.finish()
            self.dispatcher.detach()

    def _detach(self) -> None:
        self.dispatcher.detach()
        self.set_state("LOADING", "its worker is being replaced.")


Version = ServedVersion | BrokenVersion


def _describe(key: ModelKey, manifest: Manifest) -> Description:
    return Description(
        name=key.name,
        version=key.version,
        state="LOADING",
        reason="",
        architecture=manifest.architecture,
        precision=manifest.precision,
        untrained=manifest.untrained,
        parameters=manifest.parameters,
        multiply_adds=manifest.multiply_adds,
        input=(manifest.input.height, manifest.input.width),
        labels=manifest.labels,
        metrics=manifest.metrics,
        metrics_data=manifest.metrics_data,
    )


def describe_plan(loaded: Loaded) -> str:
    """Describe for people how a worker uses its device."""
    solo = f", {loaded.solo_threads} threads for a lone image" if loaded.solo_threads else ""
    sizes = "padded batches" if loaded.fixed_sizes else "batches"
    return f"{loaded.lanes} lanes, {sizes} of up to {loaded.max_batch}{solo}"
