"""The scheduler beside the device: lanes that take the most urgent work and run it to the end."""

import contextlib
import heapq
import itertools
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.ipc import messages
from service.ipc.slots import Slots
from service.latency import RunTimeModel
from service.worker.engine import Engine


@dataclass(eq=False, slots=True)
class Frontend:
    """Where a job came from: the pixels are in its slots, the answer goes to its channel."""

    channel: socket.socket
    slots: Slots

    def send(self, message: messages.Message) -> None:
        """Answer; a frontend that has gone misses nothing."""
        with contextlib.suppress(OSError):
            self.channel.send(messages.encode(message))


@dataclass(eq=False, slots=True)
class _Job:
    run: messages.Run
    frontend: Frontend
    cancelled: bool = False


class BatchScheduler:
    """Threads that take batches from one heap. Batches form from what arrived while every lane was busy."""

    def __init__(self, engine: Engine, times: RunTimeModel, answered: Callable[[], None]) -> None:
        """Start the lanes.

        Args:
            engine: runs the model.
            times: what its runs are expected to take; learned from then on.
            answered: called once, before the first answer is sent.
        """
        self._engine, self._times = engine, times
        self._answered: Callable[[], None] | None = answered
        self._lanes = engine.plan.lanes
        self._idle = self._lanes
        self._quarantine = False  # a suspect runs
        self._begun: dict[int, float] = {}  # of each lane that runs, since when
        self._heap: list[tuple[bool, float, int, _Job]] = []
        self._arrivals = itertools.count()
        self._work = threading.Condition()
        for number in range(self._lanes):
            threading.Thread(target=self._lane, args=(number,), name=f"lane-{number}", daemon=True).start()

    @property
    def longest(self) -> float:
        """Seconds that the run has taken so far that has taken longest; 0 when none is going on."""
        with self._work:
            return time.monotonic() - min(self._begun.values()) if self._begun else 0.0

    def add(self, run: messages.Run, frontend: Frontend) -> None:
        """Queue one image."""
        with self._work:
            heapq.heappush(self._heap, (not run.suspect, run.key, next(self._arrivals), _Job(run, frontend)))
            self._work.notify()

    def cancel(self, number: int, frontend: Frontend) -> None:
        """Drop a job if it has not started."""
        with self._work:
            for *_, job in self._heap:
                if job.run.job == number and job.frontend is frontend:
                    job.cancelled = True

    def forget(self, frontend: Frontend) -> None:
        """Drop all jobs of a frontend that has gone."""
        with self._work:
            for *_, job in self._heap:
                job.cancelled = job.cancelled or job.frontend is frontend

    def _lane(self, number: int) -> None:
        while True:
            batch, solo = self._next(number)
            replies = self._answer(batch, solo)
            # The lane is free before anyone hears of it: a caller's next request must not find it busy.
            with self._work:
                self._idle += 1
                del self._begun[number]
                if self._quarantine:
                    self._quarantine = False
                    self._work.notify_all()
            if (tell := self._answered) and isinstance(replies[0][1], messages.Done):
                self._answered = None
                tell()
            for job, reply in replies:
                job.frontend.send(reply)

    def _next(self, number: int) -> tuple[list[_Job], bool]:
        """Wait for work and take it."""
        with self._work:
            while not self._may_start():
                self._work.wait()
            first = self._heap[0][-1].run
            solo = self._idle == self._lanes and len(self._heap) == 1 and first.solo
            size = self._size(now := time.monotonic())
            self._quarantine = first.suspect
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
        return self._times.size_in_time(now, (job.run.deadline for *_, job in heapq.nsmallest(share, self._heap)))

    def _may_start(self) -> bool:
        self._drop_dead()
        if not self._heap or self._quarantine:
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
                job.frontend.send(messages.Dropped(job.run.job))

    def _answer(self, batch: list[_Job], solo: bool) -> list[tuple[_Job, messages.Message]]:
        """Run a batch; where it fails, each image by itself, so that one spoils no other."""
        new_shape = self._engine.is_new(len(batch))
        for job in batch:
            job.frontend.slots.started[job.run.slot] = True
        started = time.monotonic()
        try:
            logits = self._engine.run(_pixels(batch), solo)
        except Exception as error:
            if len(batch) > 1:
                return [reply for job in batch for reply in self._answer([job], solo=False)]
            return [(batch[0], messages.Text({"failed": batch[0].run.job, "error": str(error)}))]
        ended = time.monotonic()
        with self._work:
            self._times.observe_run(len(batch), ended - started, solo)
        for row, job in zip(logits, batch, strict=True):
            job.frontend.slots.logits[job.run.slot] = row
        return [
            (job, messages.Done(job.run.job, len(batch), started, ended, job is batch[0], solo, new_shape))
            for job in batch
        ]


def _pixels(batch: list[_Job]) -> NDArray[np.uint8]:
    """Images of a batch, uint8 [N, H, W, 3]; a single one is read where it lies."""
    if len(batch) == 1:
        slot = batch[0].run.slot
        return batch[0].frontend.slots.images[slot : slot + 1]
    return np.stack([job.frontend.slots.images[job.run.slot] for job in batch])
