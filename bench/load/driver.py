"""Drives a running server with one or more loads at once and says what came back."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.load.generator import RECORD, Done, Failed, Job, Progress, Ready, run
from bench.load.pacing import Arrivals, arrival_times
from bench.load.protocol import PROTOCOLS
from bench.load.result import Result
from resserve.errors import ResServeError

_START_SECONDS = 60.0
_GRACE_SECONDS = 15.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The server under load and what it is asked."""

    address: str
    images: Sequence[bytes] = field(repr=False)  # encoded pictures, sent in turn
    model: str = ""
    protocol: str = "resserve"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stream of load: open loop with a `rate`, else closed loop with `concurrency` callers."""

    seconds: float  # of load, warm-up included
    warmup: float = 0.0  # seconds whose requests do not count
    rate: float | None = None  # requests per second
    arrivals: Arrivals = "poisson"
    concurrency: int = 1
    limit: int | None = None  # closed loop: requests at most
    deadlines: tuple[float, float] = (10.0, 10.0)  # seconds, drawn evenly between the two
    begin: float = 0.0  # seconds after the common start
    processes: int = 1
    channels: int = 1  # a process
    idle_channels: int = 0  # connections that stay quiet, in the first process
    seed: int = 0


def drive(target: Target, plans: Sequence[Plan], on_progress: Callable[[Progress], None] | None = None) -> list[Result]:
    """Run the plans side by side against one server; a result for each, in their order.

    Raises:
        ResServeError: nobody answers at the address, or a generator process died.
    """
    requests = [PROTOCOLS[target.protocol].request(image, target.model) for image in target.images]
    jobs = [(number, job) for number, plan in enumerate(plans) for job in _jobs(target, plan, requests)]
    with ExitStack() as stack:
        generators = [_Generator(job) for _, job in jobs]
        for generator in generators:
            stack.callback(generator.stop)
        _collect(generators, Ready, time.monotonic() + _START_SECONDS, None)
        zero = time.monotonic() + 0.1
        for (number, _), generator in zip(jobs, generators, strict=True):
            generator.pipe.send(zero + plans[number].begin)
        longest = max(plan.begin + plan.seconds + plan.deadlines[1] for plan in plans)
        done = _collect(generators, Done, zero + longest + _GRACE_SECONDS, on_progress)
    return [
        _result(plan, [part for (number, _), part in zip(jobs, done, strict=True) if number == wanted])
        for wanted, plan in enumerate(plans)
    ]


def _jobs(target: Target, plan: Plan, requests: list[bytes]) -> list[Job]:
    jobs = []
    for share in range(plan.processes):
        due = None
        if plan.rate is not None:
            due = arrival_times(
                plan.arrivals, plan.rate, plan.seconds, seed=plan.seed, share=share, shares=plan.processes
            )
        jobs.append(
            Job(
                address=target.address,
                protocol=target.protocol,
                requests=requests[share:] + requests[:share],
                due=due,
                concurrency=_part(plan.concurrency, share, plan.processes),
                seconds=plan.seconds,
                limit=None if plan.limit is None else _part(plan.limit, share, plan.processes),
                deadlines=plan.deadlines,
                channels=plan.channels,
                idle_channels=plan.idle_channels if share == 0 else 0,
                seed=plan.seed + share,
            )
        )
    return jobs


def _part(total: int, share: int, shares: int) -> int:
    return total // shares + (share < total % shares)


class _Generator:
    """A child process with its pipe. Spawned, not forked: gRPC does not survive a fork."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=run, args=(job, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        self.pipe.close()
        self.process.join(timeout=2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _collect(
    generators: Sequence[_Generator],
    kind: type[T],
    until: float,
    on_progress: Callable[[Progress], None] | None,
) -> list[T]:
    """One message of the kind from each generator, in their order."""
    found: dict[int, T] = {}
    places = {generator.pipe: place for place, generator in enumerate(generators)}
    while len(found) < len(generators):
        waiting = [pipe for pipe, place in places.items() if place not in found]
        ready = wait(waiting, timeout=max(0.0, until - time.monotonic()))
        if not ready:
            raise ResServeError("The load did not end in time: a generator process hangs; run it again.")
        for pipe in ready:
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except EOFError:
                raise ResServeError("A load generator process died; its message is above.") from None
            if isinstance(message, Failed):
                raise ResServeError(message.message)
            if isinstance(message, kind):
                found[places[pipe]] = message
            elif isinstance(message, Progress) and on_progress is not None:
                on_progress(message)
    return [found[place] for place in range(len(generators))]


def _result(plan: Plan, parts: Sequence[Done]) -> Result:
    records: NDArray[np.void] = np.concatenate([part.records for part in parts]) if parts else np.empty(0, RECORD)
    return Result(
        records=np.sort(records, order="done"),
        warmup=plan.warmup,
        seconds=plan.seconds,
        open_loop=plan.rate is not None,
        cpu_seconds=tuple(part.cpu_seconds for part in parts),
    )
