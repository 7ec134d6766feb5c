"""The lanes of a worker with a model that the test holds back: what runs beside what."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event, Semaphore

import numpy as np
import pytest

from service.ipc import connection
from service.ipc.connection import BlockingConnection
from service.ipc.messages import Done, Dropped, Message, Run
from service.ipc.slots import Slots
from service.latency import RunTimeModel
from service.worker.plan import Plan
from service.worker.scheduler import BatchScheduler, Client
from tests.support.service_process import wait_until

FOR_EVER = 1e12


class HeldBack:
    """An engine whose runs end when the test lets one end: logits are the first pixel."""

    def __init__(self, lanes: int = 2, max_batch: int = 1) -> None:
        self.plan = Plan(lanes, max_batch, solo_threads=0)
        self.let = Semaphore(0)

    def is_new(self, count: int) -> bool:
        return False

    def run(self, images: np.ndarray, solo: bool) -> np.ndarray:
        self.let.acquire()
        return np.repeat(images[:, 0, 0, :1], 2, axis=1).astype(np.float32)


class Caller:
    """A frontend: pictures in, answers out."""

    def __init__(self, scheduler: BatchScheduler) -> None:
        mine, self.far_end = connection.pair()
        self.connection = BlockingConnection(mine)
        self.answers = iter(self.connection)
        self.slots = Slots.create(16, 4, 4, 2)
        self.client = Client(BlockingConnection(self.far_end), self.slots)
        self.scheduler = scheduler

    def send(self, slot: int, *, suspect: bool = False, until: float = FOR_EVER) -> None:
        """One picture of the slot's number, whose job has the same."""
        self.slots.images[slot] = slot
        self.slots.started[slot] = False
        self.scheduler.add(Run(slot, slot, 0.0, until, solo=False, suspect=suspect), self.client)

    def started(self) -> list[int]:
        """The slots that a lane has begun to run."""
        return np.flatnonzero(self.slots.started).tolist()

    def close(self) -> None:
        self.connection.close()
        self.client.connection.close()
        self.slots.close()

    def next_answer(self) -> Message:
        return next(self.answers)[0]


@pytest.fixture
def engine() -> Iterator[HeldBack]:
    engine = HeldBack()
    yield engine
    engine.let.release(100)


Call = Callable[[BatchScheduler], Caller]


@pytest.fixture
def call() -> Iterator[Call]:
    """Makes frontends."""
    with ExitStack() as stack:

        def make(scheduler: BatchScheduler) -> Caller:
            caller = Caller(scheduler)
            stack.callback(scheduler.close)
            stack.callback(caller.close)
            return caller

        yield make


@pytest.fixture
def first(engine: HeldBack, call: Call) -> Caller:
    return call(BatchScheduler(engine, RunTimeModel({1: 0.01}, 0.01), on_first_answer=lambda: None))


def test_a_suspect_runs_while_nothing_else_does(engine: HeldBack, first: Caller, call: Call) -> None:
    """It waits until the lanes are free, whoever came before it waits for it, and the other frontend's jobs do too."""
    other = call(first.scheduler)
    first.send(0)
    wait_until(lambda: first.started() == [0], "a lane is busy")
    first.send(1, suspect=True)
    other.send(2)
    other.send(3, suspect=True)
    assert first.started() == [0] and other.started() == []
    engine.let.release()
    wait_until(lambda: first.started() == [0, 1], "the suspect of the first runs")
    assert other.started() == []
    engine.let.release()
    wait_until(lambda: other.started() == [3], "then that of the other")
    engine.let.release()
    wait_until(lambda: other.started() == [2, 3], "then what is above suspicion")
    engine.let.release()

    assert [first.next_answer().job for _ in range(2)] == [0, 1] and [other.next_answer().job for _ in range(2)] == [
        3,
        2,
    ]
    assert (first.slots.logits[:2] == [[0, 0], [1, 1]]).all() and (other.slots.logits[2:4] == [[2, 2], [3, 3]]).all()


def test_suspect_is_answered_before_the_next_one_runs(call: Call) -> None:
    """The next suspect may end the worker, which must not cost this one its answer."""
    answers_at_start: list[int] = []

    class CountsAnswers(HeldBack):
        def run(self, images: np.ndarray, solo: bool) -> np.ndarray:
            answers_at_start.append(sent)
            return images[:, 0, 0, :2].astype(np.float32)

    class CountingConnection(BlockingConnection):
        def send(self, message: Message, fd: int | None = None) -> None:
            nonlocal sent
            time.sleep(0.01)  # the other lane has time to begin
            super().send(message, fd)
            sent += 1

    sent = 0
    caller = call(BatchScheduler(CountsAnswers(), RunTimeModel({1: 0.01}, 0.01), on_first_answer=lambda: None))
    caller.client.connection = CountingConnection(caller.far_end)
    for slot in range(5):
        caller.send(slot, suspect=True)
    for _ in range(5):
        caller.next_answer()

    assert answers_at_start == [0, 1, 2, 3, 4]


def test_nothing_starts_beside_a_suspect(engine: HeldBack, first: Caller) -> None:
    """A lane is free, but what comes while a suspect runs waits for its end."""
    first.send(0, suspect=True)
    wait_until(lambda: first.started() == [0], "the suspect runs")
    first.send(1)
    time.sleep(0.2)
    assert first.started() == [0]
    engine.let.release()
    wait_until(lambda: first.started() == [0, 1], "then the other")
    engine.let.release()

    assert [first.next_answer().job for _ in range(2)] == [0, 1]


def test_lane_that_hangs_is_seen_while_the_other_answers(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run far over its prediction is stalled, however many others end; nothing is once it has ended."""
    go_on = Event()

    class HangsOnZero(HeldBack):
        def run(self, images: np.ndarray, solo: bool) -> np.ndarray:
            if not images[0, 0, 0, 0]:
                go_on.wait(60)
            return images[:, 0, 0, :2].astype(np.float32)

    caller = call(BatchScheduler(HangsOnZero(), RunTimeModel({1: 0.01}, 0.01), on_first_answer=lambda: None))
    caller.send(0)
    wait_until(lambda: caller.started() == [0], "the first lane runs")
    assert not caller.scheduler.is_stalled
    later = time.monotonic() + 11.0
    with monkeypatch.context() as clock:
        clock.setattr(time, "monotonic", lambda: later)
        for slot in range(1, 5):
            caller.send(slot)
            assert caller.next_answer().job == slot and caller.scheduler.is_stalled
        go_on.set()
        assert caller.next_answer().job == 0 and not caller.scheduler.is_stalled


def test_the_first_answer_is_told_once(engine: HeldBack, call: Call) -> None:
    """Before it is sent, so that whoever counts failures knows of it; not for what was dropped."""
    told = Event()
    calls = []

    def on_first_answer() -> None:
        calls.append(1)
        told.set()

    caller = call(BatchScheduler(engine, RunTimeModel({1: 0.01}, 0.01), on_first_answer))
    caller.send(0, until=0.0)
    assert isinstance(caller.next_answer(), Dropped) and not told.is_set()
    engine.let.release(2)
    for slot in (1, 2):
        caller.send(slot)
        assert isinstance(caller.next_answer(), Done) and told.is_set()

    assert calls == [1]


def test_a_batch_is_late_for_none_of_its_images(call: Call) -> None:
    """Seven wait while both lanes are busy: as many are taken as can all end in time, and without what is lost."""
    engine = HeldBack(max_batch=4)
    caller = call(BatchScheduler(engine, RunTimeModel({1: 1.0, 4: 4.0}, 1.0), on_first_answer=lambda: None))
    caller.send(0)
    caller.send(1)
    wait_until(lambda: caller.started() == [0, 1], "the lanes are busy")
    now = time.monotonic()
    for slot, within in enumerate([60.0, 1.8, 60.0, 0.4, 60.0, 60.0, 60.0], start=2):
        caller.send(slot, until=now + within)
    engine.let.release()
    wait_until(lambda: caller.started() == [0, 1, 2, 3], "the lane that is free takes two")
    engine.let.release()
    wait_until(lambda: caller.started() == [0, 1, 2, 3, 4, 6, 7, 8], "then one takes the rest")
    engine.let.release(2)
    heard = [caller.next_answer() for _ in range(9)]

    batches = {message.job: message.batch for message in heard if isinstance(message, Done)}
    assert batches == {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 6: 4, 7: 4, 8: 4}
    assert [message.job for message in heard if isinstance(message, Dropped)] == [5]
