"""Predictions: learned from runs, and sane whatever the runs were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.latencies import paces


@given(st.sampled_from((0.1, 10.0)), paces)
def test_a_handful_of_runs_is_believed(factor, pace) -> None:
    """When the model takes ten times as long, or a tenth, 14 runs bring the prediction within 10 % of it."""
    before = {size: pace.run(size) for size in (1, pace.max_batch)}
    decode, alone = pace.decode, pace.alone
    for _ in range(14):
        for size, seconds in before.items():
            pace.observe_run(size, seconds * factor, alone=False)
        pace.observe_run(1, alone * factor, alone=True)
        pace.observe_decode(decode * factor)

    for size, seconds in before.items():
        assert pace.run(size) == pytest.approx(seconds * factor, rel=0.1)
    assert pace.alone == pytest.approx(alone * factor, rel=0.1)
    assert pace.decode == pytest.approx(decode * factor, rel=0.1)


@given(st.sampled_from((0.1, 10.0)), st.sampled_from((1, 2, 4)), paces)
def test_one_size_tells_of_the_others(factor, observed, pace) -> None:
    """Runs of one size alone: a larger batch is not believed shorter, nor longer than its images one by one."""
    times = {size: pace.run(size) for size in (1, 2, 4)}
    for _ in range(14):
        pace.observe_run(observed, times[observed] * factor, alone=False)

    assert pace.run(1) <= pace.run(2) <= pace.run(4) <= 2 * pace.run(2) * 1.0001 <= 4 * pace.run(1) * 1.0002
    assert pace.run(observed) == pytest.approx(times[observed] * factor, rel=0.1)


@given(st.floats(0, 10), st.lists(st.floats(0, 20), min_size=1, max_size=8), paces)
def test_a_batch_is_late_for_none(now, deadlines, pace) -> None:
    """Those who could be in time by themselves are; one image more would make somebody late."""
    size = pace.size_in_time(now, deadlines)
    hopeful = [deadline for deadline in deadlines if deadline >= now + pace.run(1)]

    def late(size: int) -> bool:
        return any(deadline in hopeful and now + pace.run(size) > deadline for deadline in deadlines[:size])

    assert 1 <= size <= len(deadlines) and not late(size)
    assert size == len(deadlines) or late(size + 1)


@given(st.integers(0, 30), st.integers(1, 30), paces)
def test_only_a_free_lane_takes_a_job_at_once(ahead, count, pace) -> None:
    """Who finds every lane busy is predicted to wait, full batches or not; and longer, the more are before."""
    waits = [pace.wait(before) for before in range(ahead, ahead + count)]

    assert pace.waits(ahead, count).tolist() == pytest.approx(waits)
    assert [wait > 0 for wait in waits] == [before >= pace.lanes for before in range(ahead, ahead + count)]
    assert waits == sorted(waits)


@given(paces, st.integers(1, 64), st.integers(0, 200))
def test_predictions_are_sane(pace, batch, ahead) -> None:
    """Times are positive, a wait never shrinks with more work ahead, and an unknown batch costs what its kin cost."""
    assert pace.run(batch) > 0 and pace.interval > 0 and pace.service > 0
    assert 0 <= pace.wait(ahead) <= pace.wait(ahead + 1)
    assert pace.waits(ahead, 9).tolist() == pytest.approx([pace.wait(ahead + behind) for behind in range(9)])
    assert pace.run(3) == pytest.approx(3 * pace.run(1))
