"""The series of all frontends, added up."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.telemetry.metrics import Metrics

# Name, labels, value; as a frontend sends it.
Value = tuple[str, dict[str, str], float]
_Key = tuple[str, tuple[tuple[str, str], ...]]


def values(registry: CollectorRegistry) -> list[Value]:
    """Every sample of a registry."""
    return [
        (sample.name, dict(sample.labels), sample.value) for metric in registry.collect() for sample in metric.samples
    ]


class Gathered(Collector):
    """Sums over frontends: counters and histograms of those that ended too, gauges of those that run.

    A frontend that is killed takes along what it counted since it was last asked.
    """

    def __init__(self) -> None:
        """Start with no frontend."""
        self._live: dict[int, dict[_Key, float]] = {}
        self._ended: dict[_Key, float] = defaultdict(float)
        self._families = {}
        for metric in Metrics().registry.collect():
            for suffix in ("", "_total", "_bucket", "_count", "_sum"):
                self._families[metric.name + suffix] = metric

    def update(self, frontend: int, samples: Iterable[Value]) -> None:
        """Take the newest samples of a frontend, by any number that tells it from others."""
        self._live[frontend] = {_key(name, labels): value for name, labels, value in samples}

    def end(self, frontend: int) -> None:
        """Keep what a frontend has counted, and drop its gauges."""
        for key, value in self._live.pop(frontend, {}).items():
            if self._families[key[0]].type != "gauge":
                self._ended[key] += value

    def remove(self, model: str, version: int) -> None:
        """Forget the counters of a version that is gone. Frontends forget it themselves."""
        gone = {("model", model), ("version", str(version))}
        for series in (self._ended, *self._live.values()):
            for key in [key for key in series if gone <= set(key[1])]:
                del series[key]

    def collect(self) -> Iterator[Metric]:
        """Every family with its sums, those without samples too."""
        sums = defaultdict(float, self._ended)
        for series in self._live.values():
            for key, value in series.items():
                sums[key] += value
        families = {metric.name: Metric(metric.name, metric.documentation, metric.type) for metric in self._kinds()}
        for (name, labels), value in sums.items():
            families[self._families[name].name].add_sample(name, dict(labels), value)
        yield from families.values()

    def _kinds(self) -> list[Metric]:
        return list({metric.name: metric for metric in self._families.values()}.values())


def _key(name: str, labels: dict[str, str]) -> _Key:
    return name, tuple(labels.items())
