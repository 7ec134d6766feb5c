"""When requests are due, as data: nothing here sleeps or reads a clock."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Arrivals = Literal["poisson", "constant"]


def arrival_times(
    kind: Arrivals, rate: float, seconds: float, *, seed: int = 0, share: int = 0, shares: int = 1
) -> NDArray[np.float64]:
    """Arrival times of one of `shares` generators that together offer `rate` requests a second.

    Poisson arrivals split into independent Poisson streams of rate / shares; constant ones interleave evenly.

    Args:
        kind: how gaps are drawn.
        rate: requests per second of all shares together, over 0.
        seconds: no arrival is at or past this time.
        seed: the same seed gives the same arrivals.
        share: which of the shares, from 0.
        shares: how many there are.

    Returns:
        [n] seconds from the start, ascending.
    """
    if kind == "constant":
        times = (share + shares * np.arange(int(rate * seconds / shares) + 2)) / rate
        return times[times < seconds]
    own = rate / shares
    rng = np.random.default_rng([seed, share])
    expected = own * seconds
    # Ten standard deviations over the mean: a stream that ends before `seconds` is out of the question.
    times = np.cumsum(rng.exponential(1 / own, size=int(expected + 10 * np.sqrt(expected) + 20)))
    return times[times < seconds]


@dataclass(frozen=True)
class Pacer:
    """Tells an open-loop sender what to do next.

    Late sends are not dropped and do not shift later ones: a generator that falls behind sends at once until it has
    caught up, and latency counts from the time a request was due, so that it cannot hide waiting.
    """

    due: NDArray[np.float64]  # [n] seconds from the start, ascending

    def wait(self, elapsed: float, sent: int) -> float | None:
        """Seconds until the next request is due, 0 when it is overdue, None when all have been sent.

        Args:
            elapsed: seconds from the start.
            sent: requests sent so far.
        """
        if sent >= len(self.due):
            return None
        return max(0.0, float(self.due[sent]) - elapsed)
