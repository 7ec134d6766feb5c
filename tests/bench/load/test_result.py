"""Figures from records, and the search for capacity, without a server."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.capacity import Objective, find_capacity
from bench.load.generator import RECORD
from bench.load.result import Result
from resserve.errors import ResServeError


def result(rows, *, warmup=0.0, seconds=10.0, open_loop=True, cpu=(0.1,)) -> Result:
    records = np.array([(due, sent, done, deadline, code) for due, sent, done, deadline, code in rows], dtype=RECORD)
    return Result(np.sort(records, order="done"), warmup, seconds, open_loop, cpu)


def steady(latency: float, count: int = 100, **options) -> Result:
    return result([(i / 10, i / 10, i / 10 + latency, 1.0, 0) for i in range(count)], **options)


def test_warm_up_does_not_count() -> None:
    """Requests due in the warm-up are in no figure."""
    slow_start = [(i / 10, i / 10, i / 10 + (5.0 if i < 30 else 0.1), 10.0, 0) for i in range(100)]
    found = result(slow_start, warmup=3.0)

    assert len(found.counted) == 70 and found.latencies.max() == pytest.approx(0.1)


def test_latency_runs_from_when_a_request_was_due() -> None:
    """A request that was sent two seconds late has waited those two seconds."""
    found = result([(1.0, 3.0, 3.1, 10.0, 0)])

    assert found.latencies[0] == pytest.approx(2.1) and found.lag == pytest.approx(2.0)


def test_late_answers_are_throughput_but_not_goodput() -> None:
    """An answer past its deadline was worked for and is of no use."""
    found = result([(i / 10, i / 10, i / 10 + 0.2, 0.1 if i % 2 else 1.0, 0) for i in range(90)])

    assert found.in_time == 45 and found.goodput == pytest.approx(4.5) and found.throughput == pytest.approx(9.0)


def test_closed_loop_throughput_counts_whole_intervals() -> None:
    """One caller with answers every 0.7 s has 1 / 0.7 a second, wherever the window's edges fall."""
    rows = [(0.7 * i, 0.7 * i, 0.7 * (i + 1), 10.0, 0) for i in range(9)]
    found = result(rows, warmup=1.0, seconds=5.0, open_loop=False)

    assert found.throughput == pytest.approx(1 / 0.7)


def test_no_answer_gives_no_percentile() -> None:
    """When all failed there is no latency, and a warning instead of 0 ms."""
    found = result([(0.1, 0.1, 0.2, 1.0, 8)])

    assert found.latency(0.5) is None and found.summary()["latency_seconds"] == {}
    assert found.errors == {"RESOURCE_EXHAUSTED": 1}
    assert found.warnings == ["No request was answered: there is no latency to report."]


@pytest.mark.parametrize(
    ("cpu", "lag", "words"),
    [((1.0,), 0.0, None), ((9.0,), 0.0, "bottleneck"), ((1.0, 8.5), 0.0, "bottleneck"), ((1.0,), 0.05, "too little")],
)
def test_a_generator_that_was_the_bottleneck_says_so(cpu, lag, words) -> None:
    """One process that was busy most of the time, or requests sent late, spoil a measurement: there is a warning."""
    rows = [(i / 10, i / 10 + lag, i / 10 + 0.1 + lag, 1.0, 0) for i in range(100)]
    warnings = result(rows, cpu=cpu).warnings

    assert warnings == [] if words is None else words in warnings[0]


@pytest.mark.parametrize(
    ("text", "q", "seconds"),
    [("p99=50ms", 0.99, 0.05), ("p99.9=1.5s", 0.999, 1.5), ("p50=800us", 0.5, 0.0008), (" p95=2s ", 0.95, 2.0)],
)
def test_objectives_are_read(text, q, seconds) -> None:
    """A quantile and a time, in micro-, milliseconds or seconds."""
    found = Objective.parse(text)

    assert (found.q, found.seconds) == (pytest.approx(q), pytest.approx(seconds))


@given(st.sampled_from([90.0, 95.0, 99.0, 99.9]), st.integers(1, 999))
def test_objectives_are_written_as_they_are_read(q, milliseconds) -> None:
    """What an objective prints is what makes it."""
    found = Objective.parse(f"p{q:g}={milliseconds}ms")

    assert Objective.parse(str(found)) == found


@pytest.mark.parametrize("text", ["", "50ms", "p99", "p99=", "p99=50", "p0=1s", "p99=0ms", "p100=1s", "p-5=1s"])
def test_other_objectives_are_refused(text) -> None:
    """The sentence shows how one is written."""
    with pytest.raises(ResServeError, match="write one like p99=50ms"):
        Objective.parse(text)


def test_refused_requests_count_against_an_objective() -> None:
    """A server cannot meet p99 by answering the easy half quickly and refusing the rest."""
    objective = Objective(0.99, 0.5)
    half_refused = result([(i / 10, i / 10, i / 10 + 0.01, 1.0, 8 * (i % 2)) for i in range(100)])

    assert objective.met(steady(0.01)) and not objective.met(half_refused)


@given(st.floats(0.5, 99.5), st.integers(1, 12))
def test_sweep_closes_in_on_the_capacity(capacity, steps) -> None:
    """Bisection ends below the true capacity by no more than the ceiling halved that many times."""
    found, taken = find_capacity(
        lambda rate: steady(0.1 if rate <= capacity else 2.0), Objective(0.99, 0.5), 100, steps
    )

    assert len(taken) == steps
    assert found <= capacity <= found + 100 / 2**steps + 1e-9


def test_capacity_is_zero_where_no_rate_meets_the_objective() -> None:
    """A server too slow for the objective has no capacity within it."""
    found, _ = find_capacity(lambda _: steady(2.0), Objective(0.99, 0.5), 100, 4)

    assert found == 0
