"""The scheduler beside the device: lanes that take the most urgent work and run it to the end."""

import heapq
import socket
import threading
import time

import numpy as np
from numpy.typing import NDArray

from service import link
from service.slots import Slots
from service.worker.engine import Engine


class Lanes:
    """Threads that take batches from one heap. Batches form from what arrived while every lane was busy."""

    def __init__(self, engine: Engine, slots: Slots, channel: socket.socket) -> None:
        """Start the lanes.

        Args:
            engine: runs the batches.
            slots: where the pixels are and the logits go.
            channel: where answers are sent.
        """
        self._engine = engine
        self._slots = slots
        self._channel = channel
        self._lanes = engine.plan.lanes
        self._idle = self._lanes
        self._heap: list[tuple[float, int, link.Run]] = []
        self._cancelled: set[int] = set()
        self._work = threading.Condition()
        for number in range(self._lanes):
            threading.Thread(target=self._lane, name=f"lane-{number}", daemon=True).start()

    def add(self, run: link.Run) -> None:
        """Queue one image."""
        with self._work:
            heapq.heappush(self._heap, (run.key, run.job, run))
            self._work.notify()

    def cancel(self, job: int) -> None:
        """Drop a job if it has not started."""
        with self._work:
            if any(waiting == job for _, waiting, _ in self._heap):
                self._cancelled.add(job)

    def _lane(self) -> None:
        while True:
            batch, alone = self._next()
            replies = self._answer(batch, alone)
            # The lane is free before anyone hears of it: a caller's next request must not find it busy.
            with self._work:
                self._idle += 1
            for reply in replies:
                self._channel.send(link.encode(reply))

    def _next(self) -> tuple[list[link.Run], bool]:
        """Wait for work and take it: the waiting images shared out over the idle lanes, up to the largest batch."""
        with self._work:
            while True:
                self._drop_dead()
                if self._heap:
                    break
                self._work.wait()
            alone = self._idle == self._lanes and len(self._heap) == 1 and self._heap[0][2].alone
            share = -(-len(self._heap) // self._idle)
            self._idle -= 1
            return [heapq.heappop(self._heap)[2] for _ in range(min(share, self._engine.plan.max_batch))], alone

    def _drop_dead(self) -> None:
        now = time.monotonic()
        dead = [entry for entry in self._heap if entry[1] in self._cancelled or entry[2].latest_start < now]
        if dead:
            self._heap = [entry for entry in self._heap if entry not in dead]
            heapq.heapify(self._heap)
            for _, job, _ in dead:
                self._cancelled.discard(job)
                self._channel.send(link.encode(link.Dropped(job)))

    def _answer(self, batch: list[link.Run], alone: bool) -> list[link.Message]:
        """Run a batch; where it fails, each image by itself, so that one spoils no other."""
        started = time.monotonic()
        try:
            logits = self._engine.run(self._pixels(batch), alone)
        except Exception as error:
            if len(batch) > 1:
                return [reply for run in batch for reply in self._answer([run], alone=False)]
            return [link.Text({"failed": batch[0].job, "error": str(error)})]
        ended = time.monotonic()
        for row, run in zip(logits, batch, strict=True):
            self._slots.logits[run.slot] = row
        return [link.Done(run.job, len(batch), started, ended, run is batch[0], alone) for run in batch]

    def _pixels(self, batch: list[link.Run]) -> NDArray[np.uint8]:
        """Images of a batch, uint8 [N, H, W, 3]; a single one is read where it lies."""
        if len(batch) == 1:
            return self._slots.images[batch[0].slot : batch[0].slot + 1]
        return self._slots.images[[run.slot for run in batch]]
