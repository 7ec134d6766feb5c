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

    Counters grow by what each report adds. Summed anew, the seconds of histograms could come out a rounding error
    lower once a frontend has ended, which Prometheus takes for a restart from 0.
    A frontend that is killed takes along what it counted since it was last asked.
    """

    def __init__(self, metrics: Metrics) -> None:
        """Start with no frontend; `metrics` are such as every frontend has, for names and types."""
        self._live: dict[int, dict[_Key, float]] = {}
        self._counted: dict[_Key, float] = defaultdict(float)
        self._families = {}
        for metric in metrics.registry.collect():
            for suffix in ("", "_total", "_bucket", "_count", "_sum"):
                self._families[metric.name + suffix] = metric

    def update(self, frontend: int, samples: Iterable[Value]) -> None:
        """Take the newest samples of a frontend, by any number that tells it from others."""
        newest = {_key(name, labels): value for name, labels, value in samples}
        last = self._live.get(frontend, {})
        for key, value in newest.items():
            if not self._is_gauge(key):
                self._counted[key] += max(0.0, value - last.get(key, 0.0))
        self._live[frontend] = newest

    def end(self, frontend: int) -> None:
        """Drop the gauges of a frontend, and keep what it has counted."""
        self._live.pop(frontend, None)

    def remove(self, model: str, version: int) -> None:
        """Forget the series of a version that is gone. Frontends forget them themselves."""
        gone = {("model", model), ("version", str(version))}
        for series in (self._counted, *self._live.values()):
            for key in [key for key in series if gone <= set(key[1])]:
                del series[key]

    def collect(self) -> Iterator[Metric]:
        """Every family with its sums, those without samples too."""
        gauges: dict[_Key, float] = defaultdict(float)
        for series in self._live.values():
            for key, value in series.items():
                if self._is_gauge(key):
                    gauges[key] += value
        families = {metric.name: Metric(metric.name, metric.documentation, metric.type) for metric in self._kinds()}
        for (name, labels), value in (*self._counted.items(), *gauges.items()):
            families[self._families[name].name].add_sample(name, dict(labels), value)
        yield from families.values()

    def _is_gauge(self, key: _Key) -> bool:
        return bool(self._families[key[0]].type == "gauge")

    def _kinds(self) -> list[Metric]:
        return list({metric.name: metric for metric in self._families.values()}.values())


def _key(name: str, labels: dict[str, str]) -> _Key:
    return name, tuple(labels.items())
