"""What a load brought back: rates, latencies, errors, and whether the generator itself was the bottleneck."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.load.stats import QUANTILES, Estimate, proportion, quantile

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def in_time(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """[n] whether each request was answered within its deadline."""
    return np.asarray((records["code"] == 0) & (records["done"] - records["due"] <= records["deadline"]))


@dataclass(frozen=True)
class Result:
    """Every request of one load, and what follows from them.

    Figures count the requests that were due after the warm-up. Latency runs from the time a request was due, not from
    when it was sent; it is that of answers, and requests without one count in `errors` and against `goodput`.
    """

    records: NDArray[np.void]  # [n] of generator.RECORD, warm-up included, ordered by their end
    warmup: float  # seconds
    seconds: float  # of load, warm-up included
    open_loop: bool
    cpu_seconds: tuple[float, ...]  # of each generator process

    @cached_property
    def counted(self) -> NDArray[np.void]:
        """The requests due after the warm-up."""
        return self.records[self.records["due"] >= self.warmup]

    @cached_property
    def latencies(self) -> NDArray[np.float64]:
        """[answers] seconds from due to answered."""
        answers = self.counted[self.counted["code"] == 0]
        return np.asarray(answers["done"] - answers["due"])

    @property
    def window(self) -> float:
        """Seconds that count."""
        return self.seconds - self.warmup

    @property
    def offered(self) -> float:
        """Requests per second that were due."""
        return len(self.counted) / self.window

    @cached_property
    def throughput(self) -> float:
        """Answers per second.

        In a closed loop, counted between the first answer after the warm-up and the first after the end, which some
        caller is always waiting for: whole intervals, so that a slow model's rate is not rounded to a whole answer.
        """
        ends = self.records["done"][self.records["code"] == 0]
        if not self.open_loop:
            first, last = np.searchsorted(ends, [self.warmup, self.seconds])
            if first < last < len(ends):
                return float((last - first) / (ends[last] - ends[first]))
        return float(np.count_nonzero((ends >= self.warmup) & (ends < self.seconds)) / self.window)

    @cached_property
    def in_time(self) -> int:
        """Answers that came within their deadline."""
        return int(np.count_nonzero(in_time(self.counted)))

    @property
    def goodput(self) -> float:
        """Answers in time per second."""
        if self.open_loop:
            return self.in_time / self.window
        return self.throughput * self.in_time / max(1, len(self.latencies))

    @property
    def errors(self) -> dict[str, int]:
        """Failed requests by gRPC code."""
        codes, counts = np.unique(self.counted["code"], return_counts=True)
        return {_NAMES.get(int(c), str(c)): int(n) for c, n in zip(codes, counts, strict=True) if c != 0}

    def latency(self, q: float) -> Estimate | None:
        """A latency quantile in seconds, or None without answers."""
        return quantile(self.latencies, q) if len(self.latencies) else None

    @property
    def generator_cpu(self) -> float:
        """The busiest generator process: CPU seconds per second, of one core."""
        return max(self.cpu_seconds) / self.seconds

    @property
    def cpu_per_request(self) -> float:
        """CPU seconds that the generator spent on a request."""
        return sum(self.cpu_seconds) / max(1, len(self.records))

    @cached_property
    def lag(self) -> float:
        """The 99th percentile of how late requests were sent, seconds."""
        counted = self.counted
        return float(np.quantile(counted["sent"] - counted["due"], 0.99)) if len(counted) else 0.0

    @property
    def warnings(self) -> list[str]:
        """Reasons not to trust the figures, each a sentence."""
        found = []
        if self.generator_cpu > 0.8:
            share = f"{self.generator_cpu:.0%} of a core"
            found.append(f"The generator used {share} and may be the bottleneck: use more --processes or less load.")
        if self.open_loop and len(self.latencies) and self.lag > max(0.005, 0.1 * float(np.median(self.latencies))):
            late = f"more than {self.lag * 1e3:.0f} ms late"
            found.append(f"The generator had too little CPU: it sent 1 % of its requests {late}; latencies count that.")
        if not len(self.latencies):
            found.append("No request was answered: there is no latency to report.")
        return found

    def summary(self) -> dict[str, Any]:
        """All figures, ready for JSON; seconds and requests per second."""
        return {
            "loop": "open" if self.open_loop else "closed",
            "window_seconds": self.window,
            "requests": len(self.counted),
            "answers": len(self.latencies),
            "offered_per_second": self.offered,
            "throughput_per_second": self.throughput,
            "goodput_per_second": self.goodput,
            "in_time": asdict(proportion(self.in_time, len(self.counted))) if len(self.counted) else None,
            "latency_seconds": {
                f"p{q * 100:g}": asdict(estimate) for q in QUANTILES if (estimate := self.latency(q)) is not None
            },
            "latency_mean_seconds": float(self.latencies.mean()) if len(self.latencies) else None,
            "latency_max_seconds": float(self.latencies.max()) if len(self.latencies) else None,
            "errors": self.errors,
            "generator": {
                "processes": len(self.cpu_seconds),
                "busiest_core_share": self.generator_cpu,
                "cpu_seconds_per_request": self.cpu_per_request,
                "send_lag_p99_seconds": self.lag,
            },
            "warnings": self.warnings,
        }
