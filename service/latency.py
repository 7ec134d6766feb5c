"""How fast a model answers, learned from its runs: seconds in, predictions out. Nothing here reads a clock or waits."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A run ten times slower than the last ones is believed after a handful of runs.
_LEARNING_RATE = 0.3

# A run is hung when it takes this many times its predicted length, and this many seconds.
_STALLED_RUNS = 30
_STALLED_SECONDS = 10.0


@dataclass(slots=True)
class RunTimeModel:
    """What one run of the model takes.

    Attributes:
        runs: batch size to seconds, of the lanes.
        solo: seconds of a run that has the device to itself.
    """

    runs: dict[int, float]
    solo: float

    def observe_run(self, batch: int, seconds: float, solo: bool) -> None:
        """Learn from one run."""
        if solo:
            self.solo += _LEARNING_RATE * (seconds - self.solo)
            return
        known = self.runs.get(batch, seconds)
        learned = known + _LEARNING_RATE * (seconds - known)
        # Other sizes learn with it, as a larger batch takes longer, but no longer than its images one by one: a size
        # that was slow once and is not run for that reason would stay slow for ever.
        for size, known in self.runs.items():
            low, high = sorted((learned, learned * size / batch))
            self.runs[size] = min(max(known, low), high)
        self.runs[batch] = learned

    def run(self, batch: int) -> float:
        """Predicted seconds of a batch; a size not yet seen costs what the nearest known one does per image."""
        if batch in self.runs:
            return self.runs[batch]
        nearest = min(self.runs, key=lambda known: abs(known - batch))
        return self.runs[nearest] / nearest * batch

    def is_stalled(self, seconds: float, max_batch: int) -> bool:
        """Whether a run of at most `max_batch` images that has taken so many seconds must be hung."""
        return seconds > max(_STALLED_SECONDS, _STALLED_RUNS * self.run(max_batch))

    def size_in_time(self, now: float, deadlines: Iterable[float]) -> int:
        """How many images, of those with these deadlines and in this order, make a batch that is late for none.

        One that would be late even by itself is not waited for, and does not keep the batch small either.
        """
        soonest = now + self.run(1)
        earliest = accumulate((deadline if deadline >= soonest else math.inf for deadline in deadlines), min)
        return sum(takewhile(bool, (now + self.run(size) <= end for size, end in enumerate(earliest, start=1))))


@dataclass(slots=True)
class LatencyModel(RunTimeModel):
    """What a request takes.

    Attributes:
        lanes: batches that run at the same time.
        max_batch: images in a batch when many wait and have the time.
        decode: seconds to decode one image.
        decoders: images that decode at the same time.
    """

    lanes: int
    max_batch: int
    decode: float
    decoders: int

    def observe_decode(self, seconds: float) -> None:
        """Learn from one decoded image."""
        self.decode += _LEARNING_RATE * (seconds - self.decode)

    @property
    def interval(self) -> float:
        """Predicted seconds between two answers while work is waiting."""
        return max(self.run(self.max_batch) / (self.max_batch * self.lanes), self.decode / self.decoders)

    @property
    def service_time(self) -> float:
        """Predicted seconds from the start of decoding to the end of the run, with no wait between."""
        return self.decode + min(self.solo, self.run(1))

    @property
    def busy_service_time(self) -> float:
        """The same on a lane among busy ones; a batch is as small as the deadlines in it need, down to one image."""
        return self.decode + self.run(1)

    def wait(self, ahead: int) -> float:
        """Predicted seconds until a job starts that has `ahead` images before it, those in service included.

        A lane is busy to the end of its batch, and the job's own batch starts when those before it have started: the
        lanes begin batches in turn, evenly spaced, and the first of them may only just have begun.
        """
        waiting = ahead - self.lanes * self.max_batch
        return max(self._delays(waiting)) if waiting >= 0 else self._first_turn(ahead)

    def waits(self, ahead: int, count: int) -> NDArray[np.float64]:
        """The `wait` of `count` jobs in a row, of which the first has `ahead` images before it."""
        full = self.lanes * self.max_batch
        waiting = np.arange(count) + (ahead - full)
        waits: NDArray[np.float64] = np.maximum(*self._delays(waiting))
        if ahead < full:
            waits[: full - ahead] = [self._first_turn(before) for before in range(ahead, min(full, ahead + count))]
        return waits

    def _delays(self, waiting: Any) -> tuple[Any, Any]:
        """Until a lane begins the batch of a job with so many before it that wait too, and until it is decoded."""
        turn = self.run(self.max_batch) / self.lanes
        return (waiting // self.max_batch + 1) * turn, (waiting + 1) * (self.decode / self.decoders)

    def _first_turn(self, ahead: int) -> float:
        """Until the first lane is free, where so few are before a job that the batches that run are not full."""
        return self.run(-(-ahead // self.lanes)) / self.lanes if ahead >= self.lanes else 0.0
