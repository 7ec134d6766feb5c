"""How a worker uses its device: how many batches at once, on how many threads, how large."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

CPU_BATCHES = (1, 2, 4, 8)
GPU_MAX_BATCH = 32

# On a CPU a batch's answers leave and the next images arrive with the caches emptied by the model: handing over takes
# threads that share its cores this much time once a batch, more than an image more in it (docs/performance.md).
_HANDOVER_SECONDS = 0.005

# A larger batch has to pay for itself by more than measuring errs, and nobody waits longer than this for one to end.
_MIN_GAIN = 1.01
LONGEST_SECONDS = 0.4

# Every first start pays for measuring: a slow network is measured less often.
_SECONDS = 3.0
_LEAST_ROUNDS, _MOST_ROUNDS = 2, 10

Runner = Callable[[NDArray[np.uint8], bool], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Lanes run batches side by side; a job that is alone, a solo run, gets a session with `solo_threads` instead.

    Attributes:
        lanes: threads that each run one batch at a time.
        max_batch: images in a batch.
        solo_threads: threads of the session for a job that has the device to itself; 0: there is no such session.
        fixed: batches are padded to 1, 2, 4, ... or `max_batch`, each run once before the first request, so that no
            caller waits for a shape the runtime has not seen.
    """

    lanes: int
    max_batch: int
    solo_threads: int
    fixed: bool = False

    @property
    def credits(self) -> int:
        """Images a frontend may have between decoding and the end of their run.

        Enough that every lane finds its next batch whole, and one image for each lane and one more at the least: with
        fewer, lanes that end together share what half a batch is.
        """
        running = self.lanes * self.max_batch
        return running + max(running, self.lanes + 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that are run where they are fixed: 1, 2, 4, ... and the largest."""
        return tuple(sorted({self.padded(count) for count in range(1, self.max_batch + 1)}))

    def padded(self, count: int) -> int:
        """The size of the batch in which `count` images run, `max_batch` at most."""
        return min(1 << (count - 1).bit_length(), self.max_batch) if self.fixed else count


@dataclass(frozen=True, slots=True)
class Measured:
    """Run times on this machine, in seconds: by batch size with all lanes busy, and of one image alone."""

    runs: dict[int, float]
    solo: float

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Measured":
        """Read what `dataclasses.asdict` and JSON made of it: keys are text."""
        return cls({int(size): float(seconds) for size, seconds in content["runs"].items()}, float(content["solo"]))

    @property
    def best_batch(self) -> int:
        """The smallest batch size that is within 1 % of the most images per second, handing over included."""
        costs = {size: (seconds + _HANDOVER_SECONDS) / size for size, seconds in self.runs.items()}
        least = min(costs.values())
        return min(size for size, cost in costs.items() if cost <= least * _MIN_GAIN)


def measure(
    run: Runner, height: int, width: int, lanes: int, sizes: tuple[int, ...], longest: float = math.inf
) -> Measured:
    """Time a runner: the least of some runs of each kind, as noise only ever adds.

    Args:
        run: takes images, uint8 [N, H, W, 3], and whether they have the device to themselves.
        height: pixels.
        width: pixels.
        lanes: threads that run at the same time.
        sizes: batch sizes, growing, taken in turn so that a noisy moment does not fall on one of them alone.
        longest: seconds; sizes after the first that takes more are left out, and it is, if it is not the first.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (max(sizes), height, width, 3), dtype=np.uint8)
    run(pixels[: sizes[0]], False)
    sizes = sizes[:1] + tuple(takewhile(lambda size: _seconds(run, pixels[:size], False) <= longest, sizes[1:]))
    runs, solo = dict.fromkeys(sizes, math.inf), math.inf
    started, rounds = time.monotonic(), 0
    while rounds < _LEAST_ROUNDS or (time.monotonic() - started < _SECONDS and rounds < _MOST_ROUNDS):
        for size in sizes:
            runs[size] = min(runs[size], _with_busy_lanes(run, pixels[:size], lanes))
        solo = min(solo, _seconds(run, pixels[:1], True))
        rounds += 1
    return Measured(runs, solo)


def measure_solo(run: Runner, height: int, width: int) -> float:
    """Seconds of one image alone, as `measure` has them; the arguments are the same."""
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return min(_seconds(run, image, True) for _ in range(_LEAST_ROUNDS + 1))


def _with_busy_lanes(run: Runner, images: NDArray[np.uint8], lanes: int) -> float:
    """Mean seconds of the runs that all lanes make at the same time."""
    times: list[float] = []
    barrier = threading.Barrier(lanes)

    def lane() -> None:
        barrier.wait()
        times.extend(_seconds(run, images, False) for _ in range(2))

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(times) / len(times)


def _seconds(run: Runner, images: NDArray[np.uint8], solo: bool) -> float:
    start = time.monotonic()
    run(images, solo)
    return time.monotonic() - start
