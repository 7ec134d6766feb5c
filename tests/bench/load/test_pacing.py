"""When requests are due."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.pacing import Pacer, arrival_times

rates = st.floats(min_value=0.5, max_value=500)
durations = st.floats(min_value=0.01, max_value=20)
kinds = st.sampled_from(["poisson", "constant"])


@pytest.mark.parametrize(
    ("elapsed", "sent", "wait"),
    [
        (0.0, 0, 1.0),  # the first is due at 1
        (1.0, 0, 0.0),
        (1.5, 1, 0.5),
        (9.0, 1, 0.0),  # far behind: the second goes at once
        (9.0, 2, 0.0),  # and so does the third
        (9.0, 3, None),  # all sent
        (0.0, 3, None),
    ],
)
def test_pacer_tells_what_to_do_next(elapsed: float, sent: int, wait: float | None) -> None:
    """The next request waits for its own time, goes at once when overdue, and the load ends after the last."""
    assert Pacer(np.array([1.0, 2.0, 3.0])).wait(elapsed, sent) == wait


@given(kinds, rates, durations, st.integers(0, 2**31), st.integers(1, 5))
def test_arrivals_lie_within_the_load_in_order(kind, rate, seconds, seed, shares) -> None:
    """Every share's arrivals ascend from 0 and end before the load does."""
    for share in range(shares):
        times = arrival_times(kind, rate, seconds, seed=seed, share=share, shares=shares)

        assert np.all(times >= 0) and np.all(times < seconds) and np.all(np.diff(times) >= 0)


@given(rates, durations, st.integers(1, 5))
def test_constant_shares_interleave_to_the_whole(rate, seconds, shares) -> None:
    """The shares of a constant rate together are the arrivals of one generator alone."""
    whole = arrival_times("constant", rate, seconds)
    parts = [arrival_times("constant", rate, seconds, share=i, shares=shares) for i in range(shares)]

    assert np.allclose(np.sort(np.concatenate(parts)), whole)


@pytest.mark.parametrize("shares", [1, 4])
def test_poisson_gaps_are_exponential(shares: int) -> None:
    """The shares together have the mean and the deviation of a Poisson stream's gaps, 1 / rate both."""
    parts = [arrival_times("poisson", 200, 500, seed=1, share=i, shares=shares) for i in range(shares)]
    gaps = np.diff(np.sort(np.concatenate(parts)))

    assert gaps.mean() == pytest.approx(1 / 200, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.03)


@given(kinds, rates, durations, st.lists(st.floats(0, 3), max_size=50))
def test_stalls_neither_drop_nor_shift_requests(kind, rate, seconds, stalls) -> None:
    """However the sender stalls, every arrival is sent, none before it is due, at once when overdue."""
    due = arrival_times(kind, min(rate, 50), seconds, seed=3)
    pacer, clock, sent = Pacer(due), 0.0, 0
    while (wait := pacer.wait(clock, sent)) is not None:
        clock += wait
        assert clock >= due[sent] - 1e-9
        assert wait == 0 or clock == pytest.approx(due[sent])
        sent += 1
        clock += stalls[sent % len(stalls)] if stalls else 0.0

    assert sent == len(due)
