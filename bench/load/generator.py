"""The process that sends: one event loop, requests serialised beforehand, a generic callable that copies bytes.

Measured on requests of 110 kB: 0.24 to 0.28 ms of CPU each when answers come at once, whatever the concurrency, and
0.7 at a hundred a second beside busy neighbours, nearly all of it gRPC's wake-ups. A thread for each request under way
costs as much once there are several, futures with callbacks a quarter more.
"""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.load.pacing import Pacer
from bench.load.protocol import PROTOCOLS

# Times are seconds from the common start: due, sent, answered; code is google.rpc.Code.
RECORD = np.dtype([("due", "f8"), ("sent", "f8"), ("done", "f8"), ("deadline", "f8"), ("code", "i4")])

_CONNECT_SECONDS = 5.0
_PROGRESS_SECONDS = 0.25
# A closed-loop caller whose request failed waits this long: refusals are cheap, and it must not become a flood of them.
_PAUSE_AFTER_FAILURE = 0.02

_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process's part of a load."""

    address: str
    protocol: str
    requests: list[bytes]
    due: NDArray[np.float64] | None  # open loop: when; None: closed loop
    concurrency: int  # closed loop: callers
    seconds: float  # closed loop: no request starts later
    limit: int | None  # closed loop: requests at most
    deadlines: tuple[float, float]  # seconds, drawn evenly between the two
    channels: int
    idle_channels: int  # connections that are opened and stay quiet
    seed: int


@dataclass(frozen=True)
class Ready:
    """All channels are connected."""


@dataclass(frozen=True)
class Progress:
    """What happened since the last one."""

    sent: int
    answered: int
    failed: int
    latencies: NDArray[np.float64]  # [answered] seconds


@dataclass(frozen=True)
class Done:
    """The load is over and every request has ended."""

    records: NDArray[np.void]  # [n] of RECORD, ordered by their end
    cpu_seconds: float


@dataclass(frozen=True)
class Failed:
    """It could not begin; the message is a whole sentence."""

    message: str


def run(job: Job, pipe: Connection) -> None:
    """Connect, say Ready, receive the start time (time.monotonic), send the load, say Done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        asyncio.run(_Sender(job, pipe).run())
    except (BrokenPipeError, EOFError):
        os._exit(1)  # the parent is gone


class _Sender:
    def __init__(self, job: Job, pipe: Connection) -> None:
        self.job = job
        self.pipe = pipe
        self.records: list[tuple[float, float, float, float, int]] = []
        self.sent = 0
        self.rng = np.random.default_rng(job.seed)
        self.code = PROTOCOLS[job.protocol].code
        self.calls: list[Callable[..., Awaitable[bytes]]] = []

    async def run(self) -> None:
        channels = [grpc.aio.insecure_channel(self.job.address, _OPTIONS) for _ in range(self.job.channels)]
        idle = [grpc.aio.insecure_channel(self.job.address, _OPTIONS) for _ in range(self.job.idle_channels)]
        try:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS + len(idle) / 50):
                    await asyncio.gather(*(channel.channel_ready() for channel in (*channels, *idle)))
            except TimeoutError:
                self.pipe.send(
                    Failed(f"No gRPC server answers at {self.job.address}; start one with `resserve serve`.")
                )
                return
            self.calls = [channel.unary_unary(PROTOCOLS[self.job.protocol].method) for channel in channels]
            self.pipe.send(Ready())
            self.zero = self.pipe.recv()
            await self._load()
        finally:
            await asyncio.gather(*(channel.close() for channel in (*channels, *idle)))

    async def _load(self) -> None:
        await asyncio.sleep(self.zero - time.monotonic())
        cpu = time.process_time()
        progress = asyncio.create_task(self._report())
        if self.job.due is None:
            await asyncio.gather(*(self._caller() for _ in range(self.job.concurrency)))
        else:
            await self._open(Pacer(self.job.due))
        progress.cancel()
        self.pipe.send(Done(np.array(self.records, dtype=RECORD), time.process_time() - cpu))

    async def _open(self, pacer: Pacer) -> None:
        waiting: set[asyncio.Task[int]] = set()
        while (wait := pacer.wait(time.monotonic() - self.zero, self.sent)) is not None:
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            task = asyncio.create_task(self._one(float(pacer.due[self.sent])))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            await asyncio.sleep(0)  # overdue or not, answers are taken in between
        await asyncio.gather(*waiting)

    async def _caller(self) -> None:
        limit = self.job.limit
        while (now := time.monotonic() - self.zero) < self.job.seconds and (limit is None or self.sent < limit):
            if await self._one(now) != 0:
                await asyncio.sleep(_PAUSE_AFTER_FAILURE)

    async def _one(self, due: float) -> int:
        index = self.sent
        self.sent += 1
        call = self.calls[index % len(self.calls)]
        request = self.job.requests[index % len(self.job.requests)]
        shortest, longest = self.job.deadlines
        deadline = shortest if shortest == longest else self.rng.uniform(shortest, longest)
        sent = time.monotonic() - self.zero
        try:
            code = self.code(await call(request, timeout=max(0.0, due + deadline - sent)))
        except grpc.aio.AioRpcError as error:
            code = error.code().value[0]
        self.records.append((due, sent, time.monotonic() - self.zero, deadline, code))
        return code

    async def _report(self) -> None:
        told = sent = 0
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            fresh = self.records[told:]
            latencies = np.array([done - due for due, _, done, _, code in fresh if code == 0])
            self.pipe.send(Progress(self.sent - sent, len(latencies), len(fresh) - len(latencies), latencies))
            told, sent = told + len(fresh), self.sent
