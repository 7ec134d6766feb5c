"""What `make bench` measures: each cell is one run of one experiment, and gives its figures by name."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.host.models import STUB, STUB_SIZE, version_directory
from bench.host.raw_runtime import Reference, reference
from bench.host.service import Sampler, Service, serving
from bench.load.driver import Plan, Target, drive
from bench.load.images import padded_jpeg
from bench.load.result import Result, in_time

Figures = dict[str, float]

# Nothing is refused or late in a closed loop, however slow the machine.
_PATIENT = (120.0, 120.0)
_REQUEST_BYTES = 120_000
_RECOVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Bench:
    """The settings that all experiments share."""

    repository: Path
    photos: Sequence[bytes] = field(repr=False)
    seconds: float  # that a load counts
    reference_seconds: float  # for each part of a reference
    requests: int  # of the memory cell
    seed: int = 0  # another one for each run

    def reference(self, model: str) -> Reference:
        """The yardsticks of a model, at this moment."""
        return reference(version_directory(self.repository, model), self.photos, self.reference_seconds)

    @contextmanager
    def served(self, model: str, **environment: str) -> Iterator[tuple[Service, Target]]:
        """The model alone on a service of its own, and how to ask it with photos."""
        with serving(self.repository, [model], environment) as service:
            yield service, Target(address=service.address, images=self.photos, model=model)

    def closed(self, target: Target, callers: int, channels: int = 1, idle_channels: int = 0) -> Result:
        """A closed loop."""
        plan = Plan(
            seconds=self.seconds + self.warmup,
            warmup=self.warmup,
            concurrency=callers,
            channels=channels,
            idle_channels=idle_channels,
            deadlines=_PATIENT,
        )
        return drive(target, [plan])[0]

    @property
    def warmup(self) -> float:
        """Seconds before a load counts."""
        return min(3.0, self.seconds / 2)


def closed_loop(bench: Bench, model: str, callers: Sequence[int]) -> Figures:
    """Throughput at each number of callers, as a share of ideal and of raw; references between the loads."""
    figures: Figures = {}
    with bench.served(model) as (_, target):
        before = bench.reference(model)
        for count in callers:
            result = bench.closed(target, count)
            after = bench.reference(model)
            ideal = _mean(before, after, "ideal_one_caller" if count == 1 else "ideal_throughput")
            figures |= {
                f"{count}/ideal": result.goodput / ideal,
                f"{count}/raw": result.goodput / _mean(before, after, "raw"),
                f"{count}/per_second": result.goodput,
                f"{count}/ideal_per_second": ideal,
                f"{count}/generator_cpu": result.generator_cpu,
                f"{count}/failed": float(len(result.counted) - len(result.latencies)),
            }
            before = after
    return figures


def overload(bench: Bench, model: str) -> Figures:
    """Three times what the machine can do, open loop, 1 s deadline; then a single caller, from the very end on.

    Where no good answer came, `p99` is the deadline and `first_good` the 5 s that were waited for one.
    """
    with bench.served(model) as (_, target):
        before = bench.reference(model)
        flood = _flood(bench, 3 * before.ideal_throughput, (1.0, 1.0))
        probe = Plan(seconds=_RECOVERY_SECONDS, concurrency=1, deadlines=(1.0, 1.0), begin=flood.seconds)
        result, after_flood = drive(target, [flood, probe])
        after = bench.reference(model)
    ideal = _mean(before, after, "ideal_throughput")
    ends = result.records["done"][in_time(result.records) & (result.records["done"] >= flood.seconds)] - flood.seconds
    newcomer = after_flood.records["done"][in_time(after_flood.records)]
    p99 = result.latency(0.99)
    return {
        "in_time/ideal": result.goodput / ideal,
        "in_time/raw": result.goodput / _mean(before, after, "raw"),
        "per_second": result.goodput,
        "offered/ideal": result.offered / ideal,
        "p99": p99.value if p99 else 1.0,
        "first_good": float(min([*ends, *newcomer], default=_RECOVERY_SECONDS)),
        "newcomer": float(min(newcomer, default=_RECOVERY_SECONDS)),
        "send_lag_p99": result.lag,
        "generator_cpu": result.generator_cpu,
    }


def mixed_deadlines(bench: Bench, model: str) -> Figures:
    """The overload with deadlines from 0.3 to 3 s, earliest deadline first and then first come, first served."""
    before = bench.reference(model)
    flood = _flood(bench, 3 * before.ideal_throughput, (0.3, 3.0))
    goodput = {}
    for order in ("deadline", "arrival"):
        with bench.served(model, RESSERVE_ORDER=order) as (_, target):
            goodput[order] = drive(target, [flood])[0].goodput
    after = bench.reference(model)
    ideal = _mean(before, after, "ideal_throughput")
    return {
        "in_time/ideal": goodput["deadline"] / ideal,
        "in_time/raw": goodput["deadline"] / _mean(before, after, "raw"),
        "arrival_order/ideal": goodput["arrival"] / ideal,
        "gain": (goodput["deadline"] - goodput["arrival"]) / ideal,
    }


def cold_start(bench: Bench, model: str) -> Figures:
    """Spawn to first good answer, against starting Python with three of its imports, in turn; medians of five.

    A start before those that count leaves the service's cache and the page cache warm.
    """
    with bench.served(model):
        pass
    starts, imports = [], []
    for _ in range(5):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import numpy, grpc, onnxruntime"], check=True)
        imports.append(time.monotonic() - begun)
        with bench.served(model) as (service, _):
            starts.append(service.first_answer(model, bench.photos[0]))
    return {
        "ratio": float(np.median(starts) / np.median(imports)),
        "first_answer": float(np.median(starts)),
        "imports": float(np.median(imports)),
    }


def memory(bench: Bench, model: str) -> Figures:
    """PSS of all processes: idle after the first answers, and the highest of 64 callers and of an overload."""
    with bench.served(model) as (service, target):
        drive(target, [Plan(seconds=30.0, concurrency=1, limit=2, deadlines=_PATIENT)])
        time.sleep(2)
        idle = service.pss_bytes()
        with Sampler(service.pss_bytes) as sampler:
            result = bench.closed(target, 64)
            drive(target, [_flood(bench, 3 * result.throughput, (1.0, 1.0))])
    return {"idle": idle / 1e6, "highest": sampler.highest / 1e6}


def connections(bench: Bench) -> Figures:
    """Time per request of 32 callers on 32 connections, alone and with 968 quiet ones beside them, in turn."""
    seconds: dict[int, list[float]] = {0: [], 968: []}
    with bench.served(STUB) as (_, target):
        for _ in range(3):
            for quiet, times in seconds.items():
                result = bench.closed(_small(target), 32, channels=32, idle_channels=quiet)
                times.append(1 / result.goodput)
    return {
        "ratio": float(np.median(seconds[968]) / np.median(seconds[0])),
        "ms_at_32": float(np.median(seconds[0])) * 1e3,
        "ms_at_1000": float(np.median(seconds[968])) * 1e3,
    }


def endurance(bench: Bench) -> Figures:
    """PSS of all processes after many requests against after a thousand, with a model of almost no work."""
    with bench.served(STUB) as (service, target):
        after = []
        for requests in (1000, bench.requests - 1000):
            plan = Plan(seconds=3600.0, concurrency=16, limit=requests, deadlines=_PATIENT)
            drive(_small(target), [plan])
            time.sleep(1)
            after.append(service.pss_bytes())
    return {"ratio": after[1] / after[0], "after_1000": after[0] / 1e6, "requests": float(bench.requests)}


def request_cost(bench: Bench) -> Figures:
    """Server CPU per request of 120 kB whose picture and model are almost no work, 16 callers."""
    with bench.served(STUB) as (service, target):
        bench.closed(_small(target), 16)
        before = service.cpu_seconds()
        result = bench.closed(_small(target), 16)
        spent = service.cpu_seconds() - before
    answers = int(np.count_nonzero(result.records["code"] == 0))
    return {
        "ms": spent / answers * 1e3,
        "per_second": result.throughput,
        "generator_ms": result.cpu_per_request * 1e3,
    }


def frontends(bench: Bench) -> Figures:
    """Requests per second that the path around the model takes with 1, 2 and 4 frontends, and its CPU for each."""
    figures: Figures = {}
    for count in (1, 2, 4):
        with bench.served(STUB, RESSERVE_FRONTENDS=str(count)) as (service, target):
            bench.closed(_small(target), 32, channels=32)
            before = service.cpu_seconds()
            result = bench.closed(_small(target), 32, channels=32)
            spent = service.cpu_seconds() - before
        answers = int(np.count_nonzero(result.records["code"] == 0))
        figures |= {f"{count}/per_second": result.throughput, f"{count}/server_ms": spent / answers * 1e3}
    return figures


def _flood(bench: Bench, rate: float, deadlines: tuple[float, float]) -> Plan:
    return Plan(
        seconds=bench.seconds + bench.warmup, warmup=bench.warmup, rate=rate, deadlines=deadlines, seed=bench.seed
    )


def _small(target: Target) -> Target:
    return Target(address=target.address, images=[padded_jpeg(STUB_SIZE, _REQUEST_BYTES)], model=target.model)


def _mean(before: Reference, after: Reference, name: str) -> float:
    return float(getattr(before, name) + getattr(after, name)) / 2
