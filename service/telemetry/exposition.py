"""The text that a scrape gets: the series of all frontends and of the supervisor, and facts about each version."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.system.memory import resident
from service.telemetry.gathering import Gathered
from service.telemetry.gpu import GpuCollector
from service.telemetry.metrics import MODEL, SupervisorMetrics


@dataclass(frozen=True, slots=True)
class VersionRow:
    """Facts about one version.

    Attributes:
        labels: values of the labels MODEL.
        provider, untrained: labels of resserve_model_info.
        state: the one of `states` that it is in.
        states: all that there are.
        parameters, multiply_adds, top1: None where they are not known.
        worker: process id; None while there is no worker.
    """

    labels: dict[str, str]
    provider: str
    untrained: bool
    state: str
    states: tuple[str, ...]
    parameters: int | None
    multiply_adds: int | None
    top1: float | None
    worker: int | None


class Exposition:
    """Renders the text format."""

    def __init__(
        self, supervisor: SupervisorMetrics, gathered: Gathered, rows: Callable[[], Iterable[VersionRow]]
    ) -> None:
        """Collect from now on; `rows` gives the facts of each version at the time of a scrape."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        for collector in (gathered, supervisor.restarts, _Versions(rows), GpuCollector()):
            self._registry.register(collector)

    async def render(self) -> bytes:
        """Everything, as of now.

        The text is written in a thread: at 10 µs for each series, ten models would hold calls up for 35 ms.
        """
        return await asyncio.to_thread(generate_latest, _Collected(list(self._registry.collect())))


class _Collected(Collector):
    """Families as they stood at one moment."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class _Versions(Collector):
    """Families made anew for each scrape, so that no series outlives its version."""

    def __init__(self, rows: Callable[[], Iterable[VersionRow]]) -> None:
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        rows = list(self._rows())
        info = GaugeMetricFamily(
            "resserve_model_info", "1 for each model version.", labels=(*MODEL, "provider", "state", "untrained")
        )
        state = GaugeMetricFamily(
            "resserve_model_state", "1 for the state it is in.", labels=("model", "version", "state")
        )
        for row in rows:
            info.add_metric([*_values(row), row.provider, row.state, str(row.untrained).lower()], 1)
            for name in row.states:
                state.add_metric([row.labels["model"], row.labels["version"], name], float(name == row.state))
        yield from (info, state)
        yield _gauge("resserve_model_parameters", "Trainable parameters.", rows, lambda row: row.parameters)
        yield _gauge("resserve_model_multiply_adds", "Per image.", rows, lambda row: row.multiply_adds)
        yield _gauge("resserve_model_top1", "Accuracy measured at training, 0 to 1.", rows, lambda row: row.top1)
        yield _gauge(
            "resserve_worker_memory_bytes",
            "Resident memory of the worker.",
            rows,
            lambda row: resident(row.worker or 0),
        )


def _gauge(
    name: str, text: str, rows: list[VersionRow], value: Callable[[VersionRow], float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=MODEL)
    for row in rows:
        if (found := value(row)) is not None:
            family.add_metric(_values(row), found)
    return family


def _values(row: VersionRow) -> list[str]:
    return [row.labels[name] for name in MODEL]
