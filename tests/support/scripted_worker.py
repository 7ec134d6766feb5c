"""A dispatcher with a worker that the test plays."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps

import numpy as np

from resserve.manifest import InputSpec
from service.dispatch.admission import Policy
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.job import Answer
from service.images.threads import Decoders
from service.ipc import messages
from service.ipc.slots import Slots
from service.latency import LatencyModel
from service.telemetry.metrics import MODEL, Metrics, ModelMetrics
from tests.support.service_process import png

SPEC = InputSpec(height=4, width=4, resize=4, mean=(0, 0, 0), std=(1, 1, 1))


def picture(number: int) -> bytes:
    """A picture that differs from all others."""
    return png(np.full((4, 4, 3), number, np.uint8))


class Play:
    """A dispatcher and the worker's side of it."""

    def __init__(self, decoders: Decoders, policy: Policy) -> None:
        self.slots = Slots.create(16, 4, 4, 2)
        self.dispatcher = Dispatcher("m", SPEC, policy, self.slots, decoders)
        self.metrics = ModelMetrics(Metrics(), dict.fromkeys(MODEL, ""))
        self.runs: list[messages.Run] = []
        self.cancels: list[int] = []

    def connect(self, *, run: float = 0.01, credits: int = 5) -> None:
        """A worker with two lanes is ready."""
        latency = LatencyModel(lanes=2, max_batch=1, runs={1: run}, solo=run, decode=0.001, decoders=2)
        self.runs.clear()
        self.dispatcher.connect(self._take, latency, credits, self.metrics)

    def _take(self, message: messages.Message) -> None:
        if isinstance(message, messages.Run):
            self.runs.append(message)
        elif isinstance(message, messages.Cancel):
            self.cancels.append(message.job)

    def call(
        self, number: int, *, within: float = 60.0, client: str = "a", level: int = 0, pixels: int = 10**6
    ) -> asyncio.Task[Answer]:
        """A caller who waits for the answer to picture `number`, decoded by a thread unless it is small."""
        waiting = self.dispatcher.classify(
            picture(number), pixels, client=client, deadline=time.monotonic() + within, level=level
        )
        return asyncio.create_task(waiting)

    async def until_handed_over(self, count: int) -> list[messages.Run]:
        """Wait for that many runs since the worker connected."""
        async with asyncio.timeout(30):
            while len(self.runs) < count:
                await asyncio.sleep(0.001)
        return list(self.runs)

    def start(self, *runs: messages.Run) -> None:
        """The worker is at these."""
        for run in runs:
            self.slots.started[run.slot] = True

    def answer(self, run: messages.Run, seconds: float = 0.01) -> None:
        """The worker's answer: the picture's number."""
        self.slots.logits[run.slot] = self.slots.images[run.slot, 0, 0, 0]
        now = time.monotonic()
        self.dispatcher.heard(messages.Done(run.job, 1, now - seconds, now, first=True, solo=False, new_shape=False))


@asynccontextmanager
async def play(policy: Policy | None = None) -> AsyncIterator[Play]:
    """On the running loop."""
    yield Play(Decoders(2), policy or Policy())


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asynchronous test."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def gone(call: asyncio.Task[Answer]) -> None:
    """The caller gives up."""
    call.cancel()
    await asyncio.wait([call])


async def settle() -> None:
    """Let tasks that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def number_of(it: Play, run: messages.Run) -> int:
    """Which picture a run is of."""
    return int(it.slots.images[run.slot, 0, 0, 0])
