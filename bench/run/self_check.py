"""The server's own histogram of request times, held against what the generator measured in the same run."""

import math
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench.load.stats import QUANTILES

_SERIES = "resserve_request_seconds_bucket"
# What a request spends outside the server's clock on one machine: kernel, both gRPC stacks, two event loops.
_WIRE_SECONDS = 0.005
_WIRE_SHARE = 0.1


@dataclass(frozen=True)
class Histogram:
    """Cumulative counts by upper bound, as Prometheus keeps them."""

    counts: dict[float, float]  # upper bound in seconds -> requests at or under it

    def __sub__(self, earlier: "Histogram") -> "Histogram":
        """What came in between two scrapes."""
        return Histogram({bound: count - earlier.counts.get(bound, 0.0) for bound, count in self.counts.items()})

    @property
    def total(self) -> int:
        """All requests."""
        return int(self.counts.get(math.inf, 0))

    def bucket(self, q: float) -> tuple[float, float]:
        """The bounds, in seconds, of the bucket that holds the q-quantile.

        Raises:
            ValueError: the histogram is empty.
        """
        if self.total == 0:
            raise ValueError("an empty histogram has no quantile")
        low = 0.0
        for bound in sorted(self.counts):
            if self.counts[bound] >= math.ceil(q * self.total):
                return low, bound
            low = bound
        raise ValueError("the +Inf bucket is missing")


@dataclass(frozen=True)
class Comparison:
    """One quantile: what the generator measured from sending to answer, and the server's bucket for it."""

    q: float
    generator: float  # seconds
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """Whether the generator's time lies in the bucket, or above it by no more than the wire may take."""
        return self.low <= self.generator <= self.high * (1 + _WIRE_SHARE) + _WIRE_SECONDS


@dataclass(frozen=True)
class SelfCheck:
    """The generator's answers and times against the server's."""

    generator_answers: int
    server_answers: int
    quantiles: tuple[Comparison, ...]

    @property
    def agrees(self) -> bool:
        """Whether both counted the same answers and saw the same times."""
        return self.generator_answers == self.server_answers and all(one.agrees for one in self.quantiles)

    def summary(self) -> dict[str, Any]:
        """Ready for JSON."""
        rows = [asdict(one) | {"agrees": one.agrees} for one in self.quantiles]
        return {
            "agrees": self.agrees,
            "generator_answers": self.generator_answers,
            "server_answers": self.server_answers,
            "quantiles": rows,
        }


def read_histogram(url: str, model: str = "") -> Histogram | None:
    """The server's histogram of answered requests, of one model or of all; None where no metrics are to be had.

    Args:
        url: of the metrics page, e.g. http://127.0.0.1:8002/metrics.
        model: the name in the `model` label; empty for the sum of all.
    """
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return parse_histogram(page.read().decode(), model)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def parse_histogram(text: str, model: str = "") -> Histogram:
    """The histogram in a metrics page (Prometheus text format)."""
    counts: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name != _SERIES or sample.labels.get("code", "OK") != "OK":
                continue
            if model in ("", sample.labels.get("model")):
                bound = float(sample.labels["le"])
                counts[bound] = counts.get(bound, 0.0) + sample.value
    return Histogram(counts)


def check(records: NDArray[np.void], server: Histogram) -> SelfCheck | None:
    """Compare every answer of a run, warm-up included, with what the server counted meanwhile.

    Args:
        records: [n] of generator.RECORD.
        server: the difference of two scrapes around the run.

    Returns:
        None when neither side has an answer.
    """
    answers = records[records["code"] == 0]
    if not len(answers) or server.total == 0:
        return None if len(answers) == server.total else SelfCheck(len(answers), server.total, ())
    times = np.sort(answers["done"] - answers["sent"])
    rows = tuple(Comparison(q, float(times[math.ceil(q * len(times)) - 1]), *server.bucket(q)) for q in QUANTILES)
    return SelfCheck(len(answers), server.total, rows)
