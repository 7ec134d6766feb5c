"""The scheduler beside the device: first come, first served, in batches of what arrived while every lane was busy."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.ipc.connection import BlockingConnection
from service.ipc.messages import Done, Dropped, Failed, Message, Run, shorten
from service.ipc.slots import Slots
from service.latency import RunTimeModel
from service.worker.engine import Engine


@dataclass(eq=False, slots=True)
class Client:
    """A frontend as the worker sees it: pixels are in its slots, answers go to its connection."""

    connection: BlockingConnection
    slots: Slots


@dataclass(eq=False, slots=True)
class _Job:
    run: Run
    client: Client
    cancelled: bool = False


class BatchScheduler:
    """Lanes, threads that each run one batch at a time, and the jobs that wait for them."""

    def __init__(self, engine: Engine, times: RunTimeModel, on_first_answer: Callable[[], None]) -> None:
        """Start the lanes.

        Args:
            engine: runs the model.
            times: predictions of its runs; learned from then on.
            on_first_answer: called once, before the first answer is sent.
        """
        self._engine, self._times = engine, times
        self._on_first_answer = on_first_answer
        self._has_answered = self._is_closed = False
        self._lanes = engine.plan.lanes
        self._idle = self._lanes
        self._suspect_runs = False
        self._begun: dict[int, float] = {}  # lanes that run, and since when
        self._heap: list[tuple[bool, float, int, _Job]] = []
        self._arrivals = itertools.count()
        self._work = threading.Condition()
        for number in range(self._lanes):
            threading.Thread(target=self._lane, args=(number,), name=f"lane-{number}", daemon=True).start()

    @property
    def is_stalled(self) -> bool:
        """Whether a run takes so long that it must be hung, even if other lanes still answer."""
        with self._work:
            longest = time.monotonic() - min(self._begun.values()) if self._begun else 0.0
            return self._times.is_stalled(longest, self._engine.plan.max_batch)

    def add(self, run: Run, client: Client) -> None:
        """Queue one image."""
        with self._work:
            heapq.heappush(self._heap, (not run.suspect, run.sort_key, next(self._arrivals), _Job(run, client)))
            self._work.notify()

    def cancel(self, number: int, client: Client) -> None:
        """Drop a job if it has not started."""
        with self._work:
            for *_, job in self._heap:
                if job.run.job == number and job.client is client:
                    job.cancelled = True

    def forget(self, client: Client) -> None:
        """Drop all jobs of a frontend that has gone."""
        with self._work:
            for *_, job in self._heap:
                job.cancelled = job.cancelled or job.client is client

    def close(self) -> None:
        """End the lanes, each after the run it is in."""
        with self._work:
            self._is_closed = True
            self._work.notify_all()

    def _lane(self, number: int) -> None:
        while self._run_next(number):
            pass

    def _run_next(self, number: int) -> bool:
        """Wait for a batch, run it and answer; False once the scheduler is closed."""
        if (taken := self._next(number)) is None:
            return False
        batch, solo = taken
        replies = self._answer(batch, solo)
        suspect = batch[0].run.suspect
        if suspect:
            # The next suspect may end this process: it does not begin before this one's answer is on its way.
            self._send(replies)
        with self._work:
            self._idle += 1
            del self._begun[number]
            if self._suspect_runs:
                self._suspect_runs = False
                self._work.notify_all()
        if not suspect:
            # The lane is free before anyone hears of it: a caller's next request must not find it busy.
            self._send(replies)
        return True

    def _send(self, replies: list[tuple[_Job, Message]]) -> None:
        if not self._has_answered and isinstance(replies[0][1], Done):
            self._has_answered = True
            self._on_first_answer()
        for job, reply in replies:
            job.client.connection.send(reply)

    def _next(self, number: int) -> tuple[list[_Job], bool] | None:
        """Wait for work and take it; None once the scheduler is closed."""
        with self._work:
            while not self._is_closed and not self._may_start():
                self._work.wait()
            if self._is_closed:
                return None
            first = self._heap[0][-1].run
            solo = self._idle == self._lanes and len(self._heap) == 1 and first.solo
            size = self._size(now := time.monotonic())
            self._suspect_runs = first.suspect
            self._idle -= 1
            self._begun[number] = now
            return [heapq.heappop(self._heap)[-1] for _ in range(size)], solo

    def _size(self, now: float) -> int:
        """The waiting images shared out over the idle lanes, up to the largest batch that makes none of them late.

        A suspect runs by itself, so that if it ends this worker too nothing else is blamed.
        """
        if self._heap[0][-1].run.suspect:
            return 1
        share = min(-(-len(self._heap) // self._idle), self._engine.plan.max_batch)
        if share == 1:
            return 1
        return self._times.size_in_time(now, (job.run.deadline for *_, job in heapq.nsmallest(share, self._heap)))

    def _may_start(self) -> bool:
        self._drop_dead()
        if not self._heap or self._suspect_runs:
            return False
        return self._idle == self._lanes or not self._heap[0][-1].run.suspect

    def _drop_dead(self) -> None:
        # An idle device runs what has not expired, however long that may take, to learn whether it still does.
        end = time.monotonic() + (self._times.run(1) if self._idle < self._lanes else 0.0)
        dead = [entry for entry in self._heap if entry[-1].cancelled or entry[-1].run.deadline < end]
        if dead:
            self._heap = [entry for entry in self._heap if entry not in dead]
            heapq.heapify(self._heap)
            for *_, job in dead:
                job.client.connection.send(Dropped(job.run.job))

    def _answer(self, batch: list[_Job], solo: bool) -> list[tuple[_Job, Message]]:
        """Run a batch; where it fails, each image by itself, so that one spoils no other."""
        new_shape = self._engine.is_new(len(batch))
        for job in batch:
            job.client.slots.started[job.run.slot] = True
        started = time.monotonic()
        try:
            logits = self._engine.run(_pixels(batch), solo)
        except Exception as error:
            if len(batch) > 1:
                return [reply for job in batch for reply in self._answer([job], solo=False)]
            return [(batch[0], Failed(batch[0].run.job, shorten(str(error))))]
        ended = time.monotonic()
        with self._work:
            self._times.observe_run(len(batch), ended - started, solo)
        for row, job in zip(logits, batch, strict=True):
            job.client.slots.logits[job.run.slot] = row
        return [(job, Done(job.run.job, len(batch), started, ended, job is batch[0], solo, new_shape)) for job in batch]


def _pixels(batch: list[_Job]) -> NDArray[np.uint8]:
    """Images of a batch, uint8 [N, H, W, 3]; a single one is read where it lies."""
    if len(batch) == 1:
        slot = batch[0].run.slot
        return batch[0].client.slots.images[slot : slot + 1]
    return np.stack([job.client.slots.images[job.run.slot] for job in batch])
