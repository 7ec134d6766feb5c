"""A dispatcher with a worker whose answers the test gives."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache, wraps

import numpy as np

from resserve.manifest import InputSpec
from service.dispatch.admission import Policy
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.in_flight import AttachedWorker
from service.dispatch.inputs import EncodedImage
from service.dispatch.job import Answer
from service.dispatch.quarantine import Quarantine
from service.images.threads import Decoders
from service.ipc.messages import Cancel, Done, Message, Run
from service.ipc.slots import Slots
from service.latency import LatencyModel
from service.settings import LATENCY_BUCKETS
from service.telemetry.metrics import MODEL, Metrics, ModelMetrics
from tests.support.service_process import png

SPEC = InputSpec(height=4, width=4, resize=4, mean=(0, 0, 0), std=(1, 1, 1))

# So large that a thread decodes it, even where nothing else waits.
LARGE = 800
# As large as a usual photo: decoded at once where nothing else waits.
USUAL = 430
# Decoded at once.
SMALL = 4


@cache
def picture(number: int, side: int = LARGE) -> bytes:
    """A square picture that differs from all others."""
    return png(np.full((side, side, 3), number, np.uint8))


class ScriptedWorker:
    """A dispatcher and the worker's side of it."""

    def __init__(self, decoders: Decoders, policy: Policy) -> None:
        self.slots = Slots.create(16, 4, 4, 2)
        self.blocked: list[bytes] = []
        self.quarantine = Quarantine("m", self.blocked.append)
        self.dispatcher = Dispatcher("m", policy, self.slots, decoders, self.quarantine)
        self.metrics = ModelMetrics(Metrics(LATENCY_BUCKETS), dict.fromkeys(MODEL, ""))
        self.runs: list[Run] = []
        self.cancels: list[int] = []

    def attach(self, *, run: float = 0.01, credits: int = 5) -> None:
        """A worker with two lanes is ready."""
        latency = LatencyModel(lanes=2, max_batch=1, runs={1: run}, solo=run, decode=0.001, decoders=2)
        self.runs.clear()
        self.dispatcher.attach(AttachedWorker(self._take, latency, credits, self.metrics))

    def _take(self, message: Message) -> None:
        if isinstance(message, Run):
            self.runs.append(message)
        elif isinstance(message, Cancel):
            self.cancels.append(message.job)

    def call(
        self, number: int, *, within: float = 60.0, client: str = "a", level: int = 0, side: int = LARGE
    ) -> asyncio.Task[Answer]:
        """A caller who waits for the answer to picture `number`."""
        return self.send(picture(number, side), within=within, client=client, level=level)

    def send(self, data: bytes, *, within: float = 60.0, client: str = "a", level: int = 0) -> asyncio.Task[Answer]:
        """A caller who waits for the answer to an image."""
        deadline = time.monotonic() + within
        image = EncodedImage(data, SPEC)
        return asyncio.create_task(self.dispatcher.classify(image, client=client, deadline=deadline, level=level))

    async def until_handed_over(self, count: int) -> list[Run]:
        """Wait for that many runs since the worker was attached."""
        async with asyncio.timeout(30):
            while len(self.runs) < count:
                await asyncio.sleep(0.001)
        return list(self.runs)

    def start(self, *runs: Run) -> None:
        """The worker begins to run these."""
        for run in runs:
            self.slots.started[run.slot] = True

    def answer(self, run: Run, seconds: float = 0.01) -> None:
        """The worker's answer: the picture's number."""
        self.slots.logits[run.slot] = self.slots.images[run.slot, 0, 0, 0]
        now = time.monotonic()
        self.dispatcher.on_message(Done(run.job, 1, now - seconds, now, first=True, solo=False, new_shape=False))

    def number_of(self, run: Run) -> int:
        """The number of the picture that a run is of."""
        return int(self.slots.images[run.slot, 0, 0, 0])


@asynccontextmanager
async def scripted_worker(policy: Policy | None = None) -> AsyncIterator[ScriptedWorker]:
    """On the running loop, and closed afterwards."""
    decoders = Decoders(2)
    harness = ScriptedWorker(decoders, policy or Policy())
    yield harness
    harness.slots.close()
    decoders.close()


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asynchronous test."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def give_up(call: asyncio.Task[Answer]) -> None:
    """The caller leaves without an answer."""
    call.cancel()
    await asyncio.wait([call])


async def run_ready_tasks() -> None:
    """Let every task run that can."""
    for _ in range(20):
        await asyncio.sleep(0.001)
