"""What metrics cost a request: `python -m bench.parts.metrics REPOSITORY MODEL SIZE`.

Prints the CPU time of every observation that one answered request makes, and what part it is of a request for a picture
of SIZE pixels, asked by one caller.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.load.images import padded_jpeg
from resserve import Client
from service.settings import LATENCY_BUCKETS
from service.telemetry.metrics import MODEL, Metrics, ModelMetrics
from tests.support.service_process import Server

ROUNDS, REQUESTS = 20_000, 2_000


def observe(model: ModelMetrics, metrics: Metrics) -> None:
    """What the service observes for one request with one image."""
    model.queue.set(1)
    model.service.set(1)
    model.queue.set(0)
    model.service.set(0)
    model.batch.observe(1)
    model.images.inc()
    model.request("OK", 0.002)
    model.stages((0.0005, 0.0002, 0.001, 0.0003))
    metrics.handled.labels("unary", "resserve.v1.Classifier", "Classify", "OK").inc()
    metrics.handling.labels("unary", "resserve.v1.Classifier", "Classify").observe(0.002)


def microseconds() -> float:
    """CPU time of `observe`: the least of five rounds."""
    metrics = Metrics(LATENCY_BUCKETS)
    model = ModelMetrics(metrics, dict.fromkeys(MODEL, "x"))
    times = []
    for _ in range(5):
        start = time.thread_time()
        for _ in range(ROUNDS):
            observe(model, metrics)
        times.append((time.thread_time() - start) / ROUNDS)
    return min(times) * 1e6


def main(repository: Path, model: str, size: int) -> None:
    """Measure both and print the share."""
    cost = microseconds()
    picture = padded_jpeg(size, 120_000)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(repository.resolve(), Path(folder), "--model", model)
        try:
            with Client(server.address) as client:
                totals = [client.classify(picture).timings.total for _ in range(REQUESTS)]
        finally:
            server.close()
    request = float(np.median(totals)) * 1e6
    print(f"metrics {cost:.1f} us of a request of {request:.0f} us (median of {REQUESTS}): {cost / request:.2%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
