"""The highest rate a server takes within a latency objective."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from bench.load.result import Result
from resserve.errors import ResServeError


@dataclass(frozen=True)
class Objective:
    """A share of all requests, refused and failed ones too, must be answered within a time."""

    q: float  # 0.99 for p99
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Objective":
        """Read `p99=50ms`, `p99.9=1.5s` or `p50=800us`.

        Raises:
            ResServeError: it is something else.
        """
        match = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)=(\d+(?:\.\d+)?)(us|ms|s)", text.strip())
        if match is None or float(match[1]) == 0 or float(match[2]) == 0:
            raise ResServeError(f"{text!r} is not an objective; write one like p99=50ms.")
        return cls(float(match[1]) / 100, float(match[2]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[match[3]])

    def met(self, result: Result) -> bool:
        """Whether enough of the requests that were due were answered within the time."""
        return self.share(result) >= self.q

    def share(self, result: Result) -> float:
        """The share of requests answered within the time; 0 when none was due."""
        if not len(result.counted):
            return 0.0
        return float((result.latencies <= self.seconds).sum()) / len(result.counted)

    def __str__(self) -> str:
        time = f"{self.seconds:g}s" if self.seconds >= 1 else f"{self.seconds * 1e3:g}ms"
        return f"p{self.q * 100:g}={time}"


@dataclass(frozen=True)
class Step:
    """One rate that was tried."""

    rate: float
    result: Result
    met: bool


def find_capacity(
    measure: Callable[[float], Result], objective: Objective, ceiling: float, steps: int
) -> tuple[float, list[Step]]:
    """Bisect between 0 and the ceiling for the highest rate that meets the objective.

    Args:
        measure: loads the server with that many requests per second, open loop.
        objective: what a rate must meet.
        ceiling: requests per second that are surely too many, e.g. the closed-loop throughput.
        steps: rates to try; the answer is right to ceiling / 2**steps, noise aside.

    Returns:
        The highest rate that met the objective (0 when none did), and the steps in the order taken.
    """
    low, high = 0.0, ceiling
    taken: list[Step] = []
    for _ in range(steps):
        rate = (low + high) / 2
        result = measure(rate)
        taken.append(Step(rate, result, objective.met(result)))
        if taken[-1].met:
            low = rate
        else:
            high = rate
    return low, taken
