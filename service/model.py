"""A model version as callers and operators see it: its manifest, its queue and its worker, put together."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from resserve.repository import Version
from resserve.v1 import classifier_pb2 as pb
from service.dispatcher import Dispatcher
from service.metrics import MODEL, STATES, Metrics, ModelMetrics
from service.scheduler import Policy
from service.settings import Settings
from service.slots import Slots
from service.supervisor import Runtime, State, Supervisor, order_for

# More than any plan has credits for. Pages are taken when a slot is first used, and the last one freed goes first.
_SLOTS = 256


class Model:
    """One version: served, or refused with a reason.

    Attributes:
        name: of the model.
        version: on disk.
        dispatcher: takes its images; None where the manifest cannot be read.
        supervisor: likewise.
        metrics: once a worker was ready.
    """

    def __init__(
        self,
        version: Version,
        settings: Settings,
        decoders: ThreadPoolExecutor,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        """Starts loading, on the running event loop; `changed` is called whenever the state does."""
        self.name = version.name
        self.version = version
        self.metrics: ModelMetrics | None = None
        self.dispatcher: Dispatcher | None = None
        self.supervisor: Supervisor | None = None
        self._all_metrics = metrics
        self._served = pb.ServedModel(name=version.name, version=version.number)
        manifest = version.manifest
        if manifest is None:
            return
        self._served.architecture, self._served.precision = manifest.architecture, manifest.precision
        self._served.untrained = manifest.untrained
        threads = decoders._max_workers
        slots = Slots.create(_SLOTS, manifest.input.height, manifest.input.width, len(manifest.labels))
        policy = Policy(settings.order, settings.wait_share)
        self.dispatcher = Dispatcher(version.name, manifest.input, policy, slots, decoders)
        self.supervisor = Supervisor(
            version.name,
            order_for(version.directory, manifest, settings.device, settings.lanes, settings.max_batch),
            slots,
            self.dispatcher,
            decoders=threads,
            bind=self._bind,
            restarts=metrics.restarts,
            changed=changed,
        )
        self.supervisor.start()

    @property
    def state(self) -> State:
        """LOADING, READY or FAILED."""
        return self.supervisor.state if self.supervisor else "FAILED"

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        return self.supervisor.reason if self.supervisor else self.version.problem

    @property
    def served(self) -> pb.ServedModel:
        """What every answer says of the model."""
        return self._served

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the logits."""
        return self.version.manifest.labels if self.version.manifest else []

    @property
    def status(self) -> pb.ModelStatus:
        """Everything there is to say."""
        status = pb.ModelStatus(model=self._served, state=f"MODEL_STATE_{self.state}", reason=self.reason)
        if manifest := self.version.manifest:
            status.parameters, status.multiply_adds = manifest.parameters, manifest.multiply_adds
            status.input_height, status.input_width = manifest.input.height, manifest.input.width
            status.labels.extend(manifest.labels)
            status.metrics.update(manifest.metrics)
            status.metrics_data = manifest.metrics_data
        if self.supervisor and self.supervisor.runtime:
            status.plan = self.supervisor.runtime.plan
        return status

    def _bind(self, runtime: Runtime) -> ModelMetrics:
        self._served.device, self._served.provider = runtime.device, runtime.provider
        self.metrics = ModelMetrics(self._all_metrics, self._labels)
        return self.metrics

    @property
    def _labels(self) -> dict[str, str]:
        return {name: str(getattr(self._served, "name" if name == "model" else name)) for name in MODEL}

    def report(self) -> None:
        """Bring the gauges up to date, for a scrape."""
        gauges, labels = self._all_metrics, self._labels
        gauges.info.labels(
            **labels, provider=self._served.provider, state=self.state, untrained=str(self._served.untrained).lower()
        ).set(1)
        for state in STATES:
            gauges.state.labels(self.name, labels["version"], state).set(state == self.state)
        if manifest := self.version.manifest:
            gauges.parameters.labels(**labels).set(manifest.parameters)
            gauges.multiply_adds.labels(**labels).set(manifest.multiply_adds)
            if "top1" in manifest.metrics:
                gauges.top1.labels(**labels).set(manifest.metrics["top1"])
        if self.dispatcher and self.supervisor:
            gauges.queue.labels(**labels).set(self.dispatcher.waiting)
            gauges.service.labels(**labels).set(self.dispatcher.in_service)
            gauges.memory.labels(**labels).set(_resident(self.supervisor.pid))


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process holds; 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
