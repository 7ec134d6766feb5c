"""The server's histogram, read from its metrics page."""

import math

import numpy as np
import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.run.self_check import parse_histogram, read_histogram

BUCKETS = [0.001 * 1.5**n for n in range(20)]


def page(observed: list[tuple[str, str, float]]) -> str:
    """A real exposition of observations (model, code, seconds)."""
    registry = prometheus_client.CollectorRegistry()
    seconds = prometheus_client.Histogram(
        "resserve_request_seconds", "a request", ["model", "code"], buckets=BUCKETS, registry=registry
    )
    for model, code, value in observed:
        seconds.labels(model, code).observe(value)
    return prometheus_client.generate_latest(registry).decode()


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_bucket_holds_the_quantile(values, q) -> None:
    """The bucket found is the one that the sample's own quantile falls in."""
    low, high = parse_histogram(page([("a", "OK", value) for value in values])).bucket(q)
    exact = np.sort(values)[math.ceil(q * len(values)) - 1]

    assert (low < exact or exact == low == 0) and exact <= high


def test_only_answers_of_the_model_count() -> None:
    """Other models and other codes stay out; without a name, models add up."""
    text = page([("a", "OK", 0.01), ("b", "OK", 0.02), ("a", "RESOURCE_EXHAUSTED", 0.03)])

    assert parse_histogram(text, "a").total == 1
    assert parse_histogram(text).total == 2
    assert parse_histogram(text, "c").total == 0


def test_two_scrapes_give_what_came_between() -> None:
    """What was counted before the run is taken off."""
    before = parse_histogram(page([("a", "OK", 0.004)]))
    after = parse_histogram(page([("a", "OK", 0.004), ("a", "OK", 2.0), ("a", "OK", 2.0)]))

    assert (after - before).total == 2 and (after - before).bucket(0.01)[0] > 1


def test_no_quantile_of_nothing() -> None:
    """An empty histogram has none."""
    with pytest.raises(ValueError, match="empty"):
        parse_histogram(page([])).bucket(0.5)


def test_no_metrics_is_no_check() -> None:
    """Where no metrics page answers, there is none to compare with."""
    assert read_histogram("http://127.0.0.1:9/metrics") is None
