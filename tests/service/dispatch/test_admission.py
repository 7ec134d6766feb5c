"""The queue and its policy in simulated time."""

import copy
import math
import random
from itertools import accumulate, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.dispatch.admission import PRIORITY_SECONDS, Job, Policy, Queue, RefusedError
from service.latency import LatencyModel
from tests.support.latencies import latencies, latency
from tests.support.simulated_clock import Arrival, World, by_client


def job(number: int = 0, *, client: str = "a", within: float = 10.0, size: int = 1, now: float = 0.0) -> Job:
    """A job of normal priority that arrives now."""
    policy, deadline = Policy(), now + within
    return Job(
        number=number,
        client=client,
        deadline=deadline,
        latest_start=policy.latest_start(now, deadline),
        key=policy.key(now, deadline, 0),
        size=size,
    )


def steady(rate: float, seconds: float, within: float, client: str = "a", level: int = 0) -> list[Arrival]:
    """Arrivals at even distances."""
    return [Arrival(number / rate, client, within, level) for number in range(int(rate * seconds))]


arrivals = st.lists(
    st.tuples(
        st.floats(0, 0.3),
        st.sampled_from("abc"),
        st.floats(0.01, 3),
        st.sampled_from((-1, 0, 1)),
        st.integers(1, 40),
    ),
    max_size=80,
).map(
    lambda rows: [Arrival(at, *rest) for at, (_, *rest) in zip(accumulate(row[0] for row in rows), rows, strict=True)]
)
policies = st.builds(
    Policy,
    queue_order=st.sampled_from(("deadline", "arrival")),
    wait_share=st.floats(0.1, 1),
    max_bytes=st.integers(40, 400),
)
factors = st.sampled_from((0.1, 0.5, 1.0, 2.0, 10.0))


@given(arrivals, latencies, policies, factors, factors)
def test_every_job_ends_once_and_none_starts_late(arrivals, latency, policy, run_factor, decode_factor) -> None:
    """Whatever arrives, and however wrong the predictions are: one end for each, no start past a deadline, in bounds.

    The simulation itself asserts that an idle device refuses nothing but for memory, and that no credit is left unused
    while something waits.
    """
    world = World(
        copy.deepcopy(latency),
        policy,
        lambda now, batch: run_factor * latency.run(batch),
        latency.decode * decode_factor,
    )
    records = world.play(arrivals)

    assert len(records) == len(arrivals)
    assert all(len(record.ends) == 1 for record in records)
    assert all(r.started is None or r.started <= r.arrival.at + r.arrival.within for r in records)
    assert all((r.started is not None) == (r.ends == ["answered"]) for r in records)
    assert world.most_bytes <= policy.max_bytes
    assert len(world.queue) == 0 and not world.queue.drain()


@given(st.lists(st.tuples(st.floats(1, 100), st.sampled_from((-1, 0, 1))), max_size=30), st.booleans())
def test_order_is_by_deadline_within_a_priority(wishes, by_deadline) -> None:
    """What waits leaves by deadline within a priority, or as it came where the operator asks for that."""
    policy = Policy("deadline" if by_deadline else "arrival", wait_share=1.0)
    queue, quick = Queue(policy), latency(run=1e-6, decode=1e-6)
    levels = {}
    for number, (within, level) in enumerate(wishes):
        now = number * 1e-3
        key = policy.key(now, now + within, level)
        levels[number] = level
        queue.admit(
            Job(number=number, client="a", deadline=now + within, latest_start=now + within, key=key), now, quick, 0
        )
    out = []
    while (popped := queue.pop(0.5, quick, idle=False)[0]) is not None:
        out.append(popped)

    assert len(out) == len(wishes)
    if not by_deadline:
        assert [job.number for job in out] == sorted(job.number for job in out)
    for level in (-1, 0, 1):
        deadlines = [job.deadline for job in out if levels[job.number] == level]
        assert not by_deadline or deadlines == sorted(deadlines)


def test_a_level_of_priority_is_worth_a_second() -> None:
    """High goes before normal due at most a second earlier, and no further: nobody is overtaken for ever."""
    policy = Policy()

    assert policy.key(0, 5.0, 1) < policy.key(0, 5.0, 0) < policy.key(0, 5.0, -1)
    assert policy.key(0, 5.0, 1) == policy.key(0, 5.0 - PRIORITY_SECONDS, 0)
    assert policy.key(0, 5.0, 1) > policy.key(0, 5.0 - PRIORITY_SECONDS - 0.1, 0)


@given(st.lists(st.floats(0.05, 5), max_size=40), st.floats(0.001, 5), st.integers(0, 8), st.integers(1, 200))
def test_a_refused_job_changes_nothing(deadlines, within, in_service, size) -> None:
    """After a refusal the queue holds what it held, in the order it held it; the predicted wait is told."""
    queue = Queue(Policy(max_bytes=100))
    for number, each in enumerate(deadlines):
        try:
            queue.admit(job(number, within=each, client="ab"[number % 2]), 0, latency(), in_service)
        except RefusedError:
            continue
    before = copy.deepcopy(queue)
    try:
        queue.admit(job(99, within=within, size=size), 0, latency(), in_service)
    except RefusedError as refused:
        assert refused.wait >= 0 and math.isfinite(refused.wait)
        assert [kept.number for kept in queue.drain()] == [kept.number for kept in before.drain()]
        assert (queue._bytes, queue._load) == (before._bytes, before._load)
    else:
        assume(False)


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=60))
def test_memory_is_bounded_and_given_back(steps) -> None:
    """The bytes that wait never pass the bound, and what leaves, in whatever way, makes room again."""
    queue, quick = Queue(Policy(max_bytes=100)), latency(run=1e-6, decode=1e-6)
    waiting: dict[int, Job] = {}
    for number, (size, leaves) in enumerate(steps):
        new = job(number, size=size)
        held = sum(kept.size for kept in waiting.values())
        try:
            queue.admit(new, 0, quick, 0)
        except RefusedError as refused:
            assert refused.reason == "memory" and held + size > 100
        else:
            assert held + size <= 100
            waiting[number] = new
        if leaves and waiting:
            if number % 2:
                gone = queue.pop(0, quick, idle=True)[0]
            else:
                gone = next(iter(waiting.values()))
                queue.discard(gone)
            del waiting[gone.number]

    assert len(queue) == len(waiting)


def test_memory_is_shared_fairly_too() -> None:
    """A client that fills the memory gives way to one that has nothing waiting."""
    queue, quick = Queue(Policy(max_bytes=100)), latency(run=1e-6, decode=1e-6)
    for number in range(100):
        queue.admit(job(number, client="flood"), 0, quick, 0)

    gave_way = queue.admit(job(100, client="small", size=3), 0, quick, 0)
    assert [(out.client, out.number) for out in gave_way] == [("flood", 99), ("flood", 98), ("flood", 97)]
    with pytest.raises(RefusedError, match="memory"):
        queue.admit(job(101, client="flood"), 0, quick, 0)


def test_cancelled_jobs_are_not_taken() -> None:
    """One that nobody wants any more is neither given out nor told about, wherever in the line it was."""
    queue = Queue(Policy())
    jobs = [job(number) for number in range(5)]
    for each in jobs:
        queue.admit(each, 0, latency(), 0)
    for gone in (jobs[0], jobs[2], jobs[4]):
        queue.discard(gone)
        queue.discard(gone)

    assert [queue.pop(0, latency(), idle=False) for _ in range(3)] == [(jobs[1], []), (jobs[3], []), (None, [])]


@settings(max_examples=15)
@given(st.floats(2, 20), st.integers(1, 4), st.sampled_from((1, 4)))
def test_a_thousand_jobs_cannot_crowd_out_one(within, lanes, max_batch) -> None:
    """While one client has a thousand images waiting, each single image of another is answered in time."""
    flood = [Arrival(0.0, "flood", within) for _ in range(1000)]
    single = [Arrival(0.5 + 2 * number, "single", within) for number in range(5)]
    slow = latency(lanes=lanes, max_batch=max_batch, run=0.05)
    world = World(slow, Policy(), lambda now, batch: 0.05 * batch, 0.01)
    clients = by_client(world.play([*flood, *single]))

    assert all(record.answered for record in clients["single"])
    # Nobody is served less for it: the flood fills what is left of the time it was given to wait.
    assert sum(record.answered for record in clients["flood"]) >= 0.3 * within * lanes / 0.05


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(2, 30))
def test_many_clients_share_alike(clients, burst) -> None:
    """Clients that each send more than there is room for are answered about equally often."""
    arrivals = [
        Arrival(index * 1e-6, f"client {number}", 2.0)
        for number in range(clients)
        for index in range(100 * burst // 30)
    ]
    world = World(latency(run=0.05), Policy(), lambda now, batch: 0.05, 0.01)
    served = [sum(r.answered for r in records) for records in by_client(world.play(arrivals)).values()]

    # Those in service when the others came had the place for nothing: credits, and no more.
    assert max(served) - min(served) <= 6


@pytest.mark.parametrize(("level", "within"), [(-1, 4.0), (0, 4.0), (-1, 2.0)])
def test_nobody_starves_behind_a_flood_that_goes_first(level, within) -> None:
    """Who is last in the order, by priority or by deadline, is let in and answered in time beside a flood at its head.

    The flood alone is twice what the lanes can do; it loses no more than the others need.
    """
    flood = steady(rate=40, seconds=30, within=1.0, client="flood", level=1)
    last = steady(rate=1, seconds=30, within=within, client="last", level=level)
    world = World(latency(run=0.1), Policy(), lambda now, batch: 0.1, 0.01)
    clients = by_client(world.play(sorted([*flood, *last], key=lambda arrival: arrival.at)))

    assert all(record.answered for record in clients["last"])
    assert sum(record.answered for record in clients["flood"]) >= 0.9 * (30 * 20 - 30)


@pytest.mark.parametrize("seed", range(3))
def test_mixed_deadlines_keep_the_goodput(seed) -> None:
    """At three times the capacity with deadlines from 0.3 to 3 s, 95 % of it is answered in time."""
    rng = random.Random(seed)
    times = accumulate(rng.expovariate(60) for _ in range(3600))
    arrivals = [Arrival(at, rng.choice("abcdefgh"), rng.uniform(0.3, 3)) for at in times]
    world = World(latency(), Policy(), lambda now, batch: 0.1 * rng.uniform(0.9, 1.1), 0.01)

    assert sum(r.answered for r in world.play(arrivals)) >= 0.95 * 20 * arrivals[-1].at


@pytest.mark.parametrize("order", ["deadline", "arrival"])
@pytest.mark.parametrize("max_batch", [1, 4])
def test_three_times_overload_keeps_the_goodput(order, max_batch) -> None:
    """At three times the capacity the answers in time are 95 % of it, and what was let in is not let down."""
    world = World(latency(max_batch=max_batch), Policy(order), lambda now, batch: 0.1 * batch, 0.01)
    records = world.play(steady(rate=60, seconds=30, within=1.0))
    admitted = [record for record in records if not record.ends[0].startswith("refused")]

    assert sum(record.answered for record in records) >= 0.95 * 20 * 30
    assert sum(record.answered for record in admitted) >= 0.97 * len(admitted)


@pytest.mark.parametrize(("run", "single"), [*product((0.1, 0.2, 0.4), (0.25, 0.5, 1.0)), (0.6, 0.25), (0.6, 0.5)])
def test_long_batches_keep_their_promises(run, single) -> None:
    """At three times what full batches of four can do, in runs of up to 0.6 s of a deadline of 1 s, no work is wasted.

    One image alone takes a quarter of the batch's time, half of it, or (up to 0.4 s) all of it.
    """
    seconds = {1: single * run, 2: max(single, 0.5) * run, 3: max(single, 0.75) * run, 4: run}
    long = LatencyModel(lanes=2, max_batch=4, runs=dict(seconds), solo=run / 2, decode=0.001, decoders=2)
    world = World(long, Policy(), lambda now, batch: seconds[batch], 0.001)
    records = world.play(steady(rate=3 * 8 / run, seconds=30, within=1.0))
    admitted = [record for record in records if not record.ends[0].startswith("refused")]

    assert sum(record.answered for record in admitted) >= 0.98 * len(admitted)
    assert sum(record.answered for record in records) >= 0.98 * 8 / run * 30


def test_early_answers_under_overload() -> None:
    """As a job may wait half its time, the answers come well before the deadline."""
    world = World(latency(), Policy(wait_share=0.5), lambda now, batch: 0.1, 0.01)
    waits = sorted(r.ended - r.arrival.at for r in world.play(steady(60, 30, 1.0)) if r.answered)

    assert waits[int(0.99 * len(waits))] < 0.8


def test_short_deadlines_are_kept_beside_long_batches() -> None:
    """Batches of four take 0.4 s; who has 0.35 s gets a smaller one."""
    world = World(latency(max_batch=4), Policy(), lambda now, batch: 0.1 * batch, 0.01)
    calm = steady(rate=8, seconds=30, within=0.35, client="hurried") + steady(rate=4, seconds=30, within=3.0)
    records = world.play(sorted(calm, key=lambda arrival: arrival.at))

    answered = {client: [record.answered for record in some] for client, some in by_client(records).items()}
    assert sum(answered["hurried"]) >= 0.9 * len(answered["hurried"])
    assert sum(answered["a"]) >= 0.99 * len(answered["a"])


@pytest.mark.parametrize("within", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_admission_follows_the_model_and_comes_back(within, factor) -> None:
    """A model ten times slower or faster for 20 s: nearly all promises are kept, and afterwards all is as before.

    With the shortest deadline nothing can be answered while the model is slow; an idle device still tries, and so
    finds out that it is fast again.
    """

    def run(now: float, batch: int) -> float:
        return 0.05 * (factor if 20 <= now < 40 else 1.0)

    world = World(latency(run=0.05), Policy(), run, 0.005)
    records = world.play(steady(rate=120, seconds=60, within=within))

    def goodput(begin: float, end: float) -> float:
        return sum(record.answered and begin <= record.ended < end for record in records) / (end - begin)

    admitted = [r for r in records if 25 <= r.arrival.at < 39 and not r.ends[0].startswith("refused")]
    capacity = 2 / (0.05 * factor)
    if factor * 0.05 < within:
        assert goodput(25, 40) >= 0.85 * min(capacity, 120)
        assert sum(r.answered for r in admitted) >= 0.85 * len(admitted)
    assert goodput(44, 60) >= 0.95 * goodput(4, 20) >= 0.9 * 40


@given(latencies, st.floats(0.001, 100))
def test_an_idle_device_always_takes_a_job(latency, slower) -> None:
    """However slow the predictions say it is: otherwise one slow spell would refuse everything for ever."""
    for _ in range(30):
        latency.observe_run(1, slower, solo=False)
        latency.observe_run(1, slower, solo=True)
        latency.observe_decode(slower)
    queue = Queue(Policy())
    new = job(within=0.001)

    assert queue.admit(new, 0, latency, in_service=0) == []
    assert queue.pop(0, latency, idle=True) == (new, [])
