"""Predictions: learned from runs, and sane whatever the runs were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.latency import RunTimeModel
from tests.support.latencies import latencies


@given(st.sampled_from((0.1, 10.0)), latencies)
def test_a_handful_of_runs_is_believed(factor, latency) -> None:
    """When the model takes ten times as long, or a tenth, 14 runs bring the prediction within 10 % of it."""
    before = {size: latency.run(size) for size in (1, latency.max_batch)}
    decode, solo = latency.decode, latency.solo
    for _ in range(14):
        for size, seconds in before.items():
            latency.observe_run(size, seconds * factor, solo=False)
        latency.observe_run(1, solo * factor, solo=True)
        latency.observe_decode(decode * factor)

    for size, seconds in before.items():
        assert latency.run(size) == pytest.approx(seconds * factor, rel=0.1)
    assert latency.solo == pytest.approx(solo * factor, rel=0.1)
    assert latency.decode == pytest.approx(decode * factor, rel=0.1)


@given(st.sampled_from((0.1, 10.0)), st.sampled_from((1, 2, 4)), latencies)
def test_one_size_tells_of_the_others(factor, observed, latency) -> None:
    """Runs of one size alone: a larger batch is not believed shorter, nor longer than its images one by one."""
    times = {size: latency.run(size) for size in (1, 2, 4)}
    for _ in range(14):
        latency.observe_run(observed, times[observed] * factor, solo=False)

    one, two, four = (latency.run(size) for size in (1, 2, 4))
    assert one <= two <= four <= 2 * two * 1.0001 <= 4 * one * 1.0002
    assert latency.run(observed) == pytest.approx(times[observed] * factor, rel=0.1)


@given(st.floats(0, 10), st.lists(st.floats(0, 20), min_size=1, max_size=8), latencies)
def test_a_batch_is_late_for_none(now, deadlines, latency) -> None:
    """Those who could be in time by themselves are; one image more would make somebody late."""
    size = latency.size_in_time(now, deadlines)
    hopeful = [deadline for deadline in deadlines if deadline >= now + latency.run(1)]

    def late(size: int) -> bool:
        return any(deadline in hopeful and now + latency.run(size) > deadline for deadline in deadlines[:size])

    assert 1 <= size <= len(deadlines) and not late(size)
    assert size == len(deadlines) or late(size + 1)


@given(st.integers(0, 30), st.integers(1, 30), latencies)
def test_only_a_free_lane_takes_a_job_at_once(ahead, count, latency) -> None:
    """Who finds every lane busy is predicted to wait, full batches or not; and longer, the more are before."""
    waits = [latency.wait(before) for before in range(ahead, ahead + count)]

    assert latency.waits(ahead, count).tolist() == pytest.approx(waits)
    assert [wait > 0 for wait in waits] == [before >= latency.lanes for before in range(ahead, ahead + count)]
    assert waits == sorted(waits)


@given(latencies, st.integers(1, 64), st.integers(0, 200))
def test_predictions_are_sane(latency, batch, ahead) -> None:
    """Times are positive, a wait never shrinks with more work ahead, and an unknown batch costs what its kin cost."""
    assert latency.run(batch) > 0 and latency.interval > 0 and latency.service_time > 0
    assert 0 <= latency.wait(ahead) <= latency.wait(ahead + 1)
    assert latency.waits(ahead, 9).tolist() == pytest.approx([latency.wait(ahead + behind) for behind in range(9)])
    assert latency.run(3) == pytest.approx(3 * latency.run(1))


@given(st.floats(0.001, 100.0), st.integers(1, 8))
def test_run_far_longer_than_predicted_is_stalled(image_seconds, max_batch) -> None:
    """A run is hung after ten seconds, or after thirty times its prediction where that is longer."""
    model = RunTimeModel({1: image_seconds, max_batch: image_seconds * max_batch}, image_seconds)
    limit = max(10.0, 30 * image_seconds * max_batch)
    assert not model.is_stalled(limit * 0.999, max_batch) and model.is_stalled(limit * 1.001, max_batch)
