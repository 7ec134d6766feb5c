"""What a scrape gets: the series of all frontends, and what is known of each model at that moment."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, multiprocess
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.dispatch.model import STATES, Model
from service.system.memory import resident
from service.telemetry.gpu import GpuCollector
from service.telemetry.metrics import MODEL, Metrics

# Where the frontends share their series when there is more than one; prometheus_client reads it when it is imported.
SHARED = "PROMETHEUS_MULTIPROC_DIR"


class Exposition:
    """Renders the text format."""

    def __init__(self, metrics: Metrics, models: Mapping[str, Model], worker: Callable[[str], int | None]) -> None:
        """Collect from now on.

        Args:
            metrics: of this frontend.
            models: by name.
            worker: a model's name to the process id of its worker.
        """
        self._registry = metrics.registry
        if shared := os.environ.get(SHARED):
            self._registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(self._registry, shared)  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self._registry)
        self._registry.register(_Models(models, worker))
        self._registry.register(GpuCollector())

    def render(self) -> bytes:
        """Everything, as of now."""
        return generate_latest(self._registry)


class _Models(Collector):
    """Made anew for each scrape, so that no series outlives what it tells of."""

    def __init__(self, models: Mapping[str, Model], worker: Callable[[str], int | None]) -> None:
        self._models, self._worker = models, worker

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "resserve_model_info", "1 for each model version.", labels=(*MODEL, "provider", "state", "untrained")
        )
        state = GaugeMetricFamily(
            "resserve_model_state", "1 for the state it is in.", labels=("model", "version", "state")
        )
        for model in self._models.values():
            labels, served = _values(model), model.served
            info.add_metric([*labels, served.provider, model.state, str(served.untrained).lower()], 1)
            for name in STATES:
                state.add_metric([model.name, labels[1], name], float(name == model.state))
        return [info, state, *self._figures()]

    def _figures(self) -> Iterator[Metric]:
        parameters = GaugeMetricFamily("resserve_model_parameters", "Trainable parameters.", labels=MODEL)
        multiply_adds = GaugeMetricFamily("resserve_model_multiply_adds", "Per image.", labels=MODEL)
        top1 = GaugeMetricFamily("resserve_model_top1", "Accuracy measured at training, 0 to 1.", labels=MODEL)
        memory = GaugeMetricFamily("resserve_worker_memory_bytes", "Resident memory of the worker.", labels=MODEL)
        for model in self._models.values():
            labels = _values(model)
            memory.add_metric(labels, resident(self._worker(model.name) or 0))
            if manifest := model.version.manifest:
                parameters.add_metric(labels, manifest.parameters)
                multiply_adds.add_metric(labels, manifest.multiply_adds)
                if "top1" in manifest.metrics:
                    top1.add_metric(labels, manifest.metrics["top1"])
        yield from (parameters, multiply_adds, top1, memory)


def _values(model: Model) -> list[str]:
    labels = model.labels
    return [labels[name] for name in MODEL]
