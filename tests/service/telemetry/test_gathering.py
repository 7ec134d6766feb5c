"""The sums over frontends, whatever happens to these."""

from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.telemetry.gathering import Gathered, values
from service.telemetry.metrics import MODEL, Metrics, ModelMetrics

BUCKETS = (0.01, 0.1, 1.0)
VERSIONS = [("a", 1), ("a", 2), ("b", 1)]
FRONTENDS = st.integers(1, 3)
GAUGES = {"resserve_queue_images", "resserve_in_service_images"}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Frontends(RuleBasedStateMachine):
    """Three frontends that count, report, end, start anew and forget versions, beside sums made by hand."""

    @initialize()
    def start(self) -> None:
        self.gathered = Gathered(Metrics(BUCKETS))
        self.metrics: dict[int, Metrics] = {}
        self.reported: dict[int, Series] = {}
        self.ended: Series = defaultdict(float)
        self.shown: Series = {}
        self.removed: set[tuple[str, int]] = set()

    def versions(self) -> list[tuple[str, int]]:
        return [version for version in VERSIONS if version not in self.removed]

    @rule(number=FRONTENDS, data=st.data(), seconds=st.floats(0, 3), waiting=st.integers(0, 5))
    @precondition(lambda self: self.versions())
    def count(self, number: int, data: st.DataObject, seconds: float, waiting: int) -> None:
        """A frontend answers a request and rejects another; nobody is told."""
        metrics = self.metrics.setdefault(number, Metrics(BUCKETS))
        name, version = data.draw(st.sampled_from(self.versions()))
        model = ModelMetrics(metrics, dict.fromkeys(MODEL, "x") | {"model": name, "version": str(version)})
        model.request("OK", seconds)
        model.images.inc()
        model.queue.set(waiting)
        metrics.add_model(name)
        metrics.rejected.labels(name, "deadline").inc()

    @rule(number=FRONTENDS)
    def report(self, number: int) -> None:
        """A frontend sends all its samples."""
        metrics = self.metrics.setdefault(number, Metrics(BUCKETS))
        self.gathered.update(number, values(metrics.registry))
        self.reported[number] = _series(values(metrics.registry))

    @rule(number=FRONTENDS)
    def end(self, number: int) -> None:
        """A frontend ends, with or without ever having reported; the next of this number counts from 0."""
        self.gathered.end(number)
        self.metrics.pop(number, None)
        for key, value in self.reported.pop(number, {}).items():
            if key[0] not in GAUGES:
                self.ended[key] += value

    @rule(version=st.sampled_from(VERSIONS))
    def remove(self, version: tuple[str, int]) -> None:
        """A version is gone for good, in every frontend."""
        self.gathered.remove(*version)
        self.removed.add(version)
        for metrics in self.metrics.values():
            metrics.remove(*version)
        for series in (self.ended, self.shown, *self.reported.values()):
            for key in [key for key in series if _is_of(key, version)]:
                del series[key]

    @invariant()
    def agrees(self) -> None:
        """Counters never fall, gauges are those of live frontends, and buckets add up."""
        samples = [
            (sample.name, dict(sample.labels), sample.value)
            for family in self.gathered.collect()
            for sample in family.samples
        ]
        shown = _series(samples)
        assert len(shown) == len(samples), "a series is shown twice"
        wanted: Series = defaultdict(float, self.ended)
        for series in self.reported.values():
            for key, value in series.items():
                wanted[key] += value
        assert shown.keys() == wanted.keys()
        assert all(abs(shown[key] - value) < 1e-9 for key, value in wanted.items())
        for key, value in self.shown.items():
            assert key[0] in GAUGES or shown[key] >= value, key
        self.shown = shown
        _check_histograms(shown)


TestFrontends = Frontends.TestCase
TestFrontends.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def _series(samples: list[tuple[str, dict[str, str], float]]) -> Series:
    return {(name, frozenset(labels.items())): value for name, labels, value in samples}


def _is_of(key: tuple[str, Any], version: tuple[str, int]) -> bool:
    return {("model", version[0]), ("version", str(version[1]))} <= key[1]


def _check_histograms(shown: Series) -> None:
    """Buckets are cumulative, and the last of them is the count."""
    buckets: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = defaultdict(list)
    for (name, labels), value in shown.items():
        if name == "resserve_request_seconds_bucket":
            le = float(dict(labels)["le"])
            buckets[frozenset(label for label in labels if label[0] != "le")].append((le, value))
    counts = {labels: value for (name, labels), value in shown.items() if name == "resserve_request_seconds_count"}
    assert buckets.keys() == counts.keys()
    for labels, found in buckets.items():
        cumulative = [value for _, value in sorted(found)]
        assert cumulative == sorted(cumulative) and cumulative[-1] == counts[labels]


def test_the_end_of_a_frontend_takes_no_rounding_error_back() -> None:
    """Seconds stay as they are when frontends end: 0.1 + 0.2 + 0.3 is more than 0.2 + 0.3 + 0.1."""
    gathered = Gathered(Metrics(BUCKETS))

    def seconds() -> float:
        return sum(s.value for family in gathered.collect() for s in family.samples if s.name.endswith("_sum"))

    for number in (1, 2, 3):
        gathered.update(number, [("resserve_request_seconds_sum", {"code": "OK"}, number / 10)])
    before = seconds()
    gathered.end(2)
    gathered.end(3)

    assert seconds() == before


def test_gauges_end_with_their_frontend() -> None:
    """A frontend that has ended has nothing waiting; what it had counted stays."""
    gathered, labels = Gathered(Metrics(BUCKETS)), dict.fromkeys(MODEL, "m")
    gathered.update(1, [("resserve_queue_images", labels, 3.0), ("resserve_images_total", labels, 5.0)])
    gathered.update(2, [("resserve_queue_images", labels, 1.0), ("resserve_images_total", labels, 2.0)])
    gathered.end(1)
    values = {sample.name: sample.value for metric in gathered.collect() for sample in metric.samples}

    assert (values["resserve_queue_images"], values["resserve_images_total"]) == (1.0, 7.0)
