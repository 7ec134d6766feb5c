"""Figures with their uncertainty."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.load.stats import median_of, proportion, quantile


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300), st.floats(0.01, 0.99))
def test_quantile_lies_in_its_interval(values, q) -> None:
    """The figure is one of the samples and lies between its own bounds."""
    found = quantile(np.array(values), q)

    assert found.value in values
    assert (found.low is None or found.low <= found.value) and (found.high is None or found.value <= found.high)


@pytest.mark.parametrize(("count", "q"), [(20, 0.5), (100, 0.9), (300, 0.99), (2000, 0.95)])
def test_interval_holds_the_true_quantile_as_often_as_it_says(count: int, q: float) -> None:
    """Over 2,000 samples of a known distribution, the 95 % interval misses the true quantile in at most about 5 %."""
    rng = np.random.default_rng(count)
    truth = scipy_stats.expon.ppf(q)
    hits = 0
    for _ in range(2000):
        found = quantile(rng.exponential(size=count), q)
        hits += (found.low is None or found.low <= truth) and (found.high is None or truth <= found.high)

    assert hits / 2000 >= 0.94


@pytest.mark.parametrize(("count", "q"), [(20, 0.5), (500, 0.9), (100_000, 0.99)])
def test_interval_ranks_are_the_exact_binomial_ones(count: int, q: float) -> None:
    """The ranks are those of SciPy's binomial distribution, the tightest that keep 2.5 % on either side."""
    found = quantile(np.arange(1.0, count + 1), q)
    low = scipy_stats.binom.ppf(0.025, count, q)
    high = scipy_stats.binom.ppf(0.975, count, q) + 1

    assert (found.low, found.high) == (low, high)


def test_few_samples_leave_the_upper_side_open() -> None:
    """The 99th percentile of 50 requests has no upper bound that 50 requests can show."""
    assert quantile(np.arange(50.0), 0.99).high is None


def test_nothing_has_no_quantile() -> None:
    """No samples is an error, not 0 ms."""
    with pytest.raises(ValueError, match="at least one sample"):
        quantile(np.array([]), 0.5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_equals_scipys(counts) -> None:
    """The interval of a share is Wilson's, as SciPy computes it, and holds the share."""
    successes, trials = counts
    found = proportion(successes, trials)
    expected = scipy_stats.binomtest(successes, trials).proportion_ci(method="wilson")

    assert found.low == pytest.approx(expected.low, abs=1e-6) and found.high == pytest.approx(expected.high, abs=1e-6)
    assert found.low <= found.value <= found.high


def test_runs_give_median_and_extremes() -> None:
    """Repeated runs are told by their median, and their spread by the extremes."""
    found = median_of([3.0, 1.0, 2.0])

    assert (found.low, found.value, found.high) == (1.0, 2.0, 3.0)
