"""One model version in the frontend: what becomes of every image between its arrival and its answer."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from resserve.manifest import InputSpec
from service.dispatch.admission import Policy, Queue, RefusedError
from service.dispatch.job import Answer, ImageJob, fail
from service.dispatch.quarantine import Poison
from service.errors import (
    ExpiredError,
    InvalidRequestError,
    LostError,
    NoRoomError,
    NotReadyError,
    OverloadedError,
    ServiceError,
)
from service.images.decode import decode
from service.images.header import ImageError
from service.images.threads import Decoders, attempt
from service.ipc import messages
from service.ipc.slots import Slots
from service.latency import LatencyModel
from service.telemetry.logs import log
from service.telemetry.metrics import ModelMetrics

_POISON = "This image has ended two workers and is not tried again."

# A run is given up when it takes this many times its predicted length, and this many seconds.
_STALLED_RUNS = 30
_STALLED_SECONDS = 10.0

# Images of so few pixels and bytes decode sooner than they could be handed to a thread: 0.08 ms against 0.3 ms.
_AT_ONCE_PIXELS = 64 * 64
_AT_ONCE_BYTES = 256 * 1024

# Nobody else waits for the event loop where an image is alone: it need not wake a thread, nor the thread the loop. That
# takes 0.4 ms where cores have gone to sleep; larger images take so long that others would come to wait.
_ALONE_PIXELS = 2**19


class Dispatcher:
    """Admits images, decodes as many ahead as the worker has credits for, and hands them over.

    What a worker had when it ended goes to the next one first. What it was running is suspected of its end: the next
    one runs each suspect by itself. One that ends a second worker is poison: it is refused from then on, and its
    neighbours are served. Callers that give up meanwhile change nothing of that.

    Attributes:
        poison: the images that are refused for having ended workers.
    """

    def __init__(self, name: str, spec: InputSpec, policy: Policy, slots: Slots, decoders: Decoders) -> None:
        """Nothing is admitted before `connect`.

        Args:
            name: the model's, for messages.
            spec: how images become pixels.
            policy: order and limits of the queue.
            slots: shared with the worker.
            decoders: threads.
        """
        self._name, self._spec, self._policy, self._slots = name, spec, policy, slots
        self._decoders = decoders
        self._metrics: ModelMetrics | None = None
        self._loop = asyncio.get_running_loop()
        self._queue = Queue(policy)
        self._free = list(range(slots.count))
        self._decoding: set[ImageJob] = set()
        self._decoded: deque[ImageJob] = deque()
        self._running: dict[int, ImageJob] = {}
        self._returned: deque[ImageJob] = deque()
        self._send: Callable[[messages.Message], None] | None = None
        self._latency: LatencyModel | None = None
        self._credits = 0
        self._numbers = 0
        self.poison = Poison()

    # The worker's side.

    def connect(
        self, send: Callable[[messages.Message], None], latency: LatencyModel, credits: int, metrics: ModelMetrics
    ) -> None:
        """A worker is ready. What the last one left goes first."""
        self._send, self._credits, self._metrics = send, min(credits, self._slots.count), metrics
        # A pace that was learned under load is better than one that was measured at load.
        self._latency = self._latency or latency
        self._advance()

    def disconnect(self) -> None:
        """The worker has ended; another will come. Nothing is lost."""
        self._send = None
        for job in self._running.values():
            if self._slots.started[job.slot]:
                if job.suspect:
                    self._condemn(job)
                job.suspect = True
            self._returned.append(job)
        self._running.clear()
        self._drop_poison()

    def fail(self, reason: str) -> None:
        """No worker will come: everything that waits is told so."""
        self._send, self._latency = None, None
        waiting = [*self._returned, *self._decoded]
        self._free.extend(job.slot for job in waiting)
        self._returned.clear()
        self._decoded.clear()
        for suspect in waiting:
            self._lose(suspect)
        for job in [*waiting, *self._queue.drain()]:
            fail(job, NotReadyError(f"Model {self._name} is not ready: {reason}"))

    def heard(self, message: messages.Message) -> None:
        """A worker's answer."""
        match message:
            case messages.Done():
                self._answer(message)
            case messages.Dropped():
                if job := self._release(message.job, ExpiredError("The deadline passed before the model could run.")):
                    self._lose(job)
            case messages.Text(content={"failed": int(number), "error": str(error)}):
                log.error("run failed", model=self._name, job=number, error=error)
                if job := self._release(number, LostError("The model failed on this image.")):
                    self._acquit(job)
        self._advance()

    @property
    def in_service(self) -> int:
        """Images from the start of their decoding to the end of their run."""
        return len(self._decoding) + len(self._decoded) + len(self._running) + len(self._returned)

    def stalled(self, seconds: float) -> bool:
        """Whether a run that has been going on for so many seconds hangs, be it that other lanes still answer."""
        if self._latency is None:
            return False
        return seconds > max(_STALLED_SECONDS, _STALLED_RUNS * self._latency.run(self._latency.max_batch))

    def refuse(self, digests: Iterable[bytes]) -> None:
        """Another frontend has found the images with these SHA-256 to be poison."""
        for digest in digests:
            self.poison.add(digest)
        self._drop_poison()

    # The callers' side.

    async def classify(self, data: bytes, pixels: int, *, client: str, deadline: float, level: int) -> Answer:
        """Decode and run one image, whose header was checked.

        Args:
            data: an encoded image.
            pixels: that it has.
            client: who shares fairly with others.
            deadline: on the monotonic clock.
            level: of priority: -1, 0 or 1.

        Raises:
            ServiceError: refused, undecodable, expired or lost.
        """
        if self._latency is None:
            raise NotReadyError(f"Model {self._name} is not ready.")
        if data in self.poison:
            raise InvalidRequestError(_POISON)
        job = self._admit(data, pixels, client, deadline, level)
        self._advance()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._abandon(job)
            raise
        finally:
            # An error that is raised refers to this frame, and the job's future to the error: nothing would be freed.
            del job

    def _admit(self, data: bytes, pixels: int, client: str, deadline: float, level: int) -> ImageJob:
        assert self._latency is not None
        now = time.monotonic()
        self._numbers += 1
        job = ImageJob(
            number=self._numbers,
            client=client,
            deadline=deadline,
            latest_start=self._policy.latest_start(now, deadline),
            key=self._policy.key(now, deadline, level),
            size=len(data),
            data=data,
            pixels=pixels,
            answer=self._loop.create_future(),
            suspect=self.poison.suspects(data),
        )
        try:
            gave_way = self._queue.admit(job, now, self._latency, self.in_service)
        except RefusedError as refused:
            if refused.reason == "memory":
                raise NoRoomError("Too many bytes of images are waiting; try again later.", refused.wait) from None
            raise _overloaded("It cannot be answered in time", refused.wait) from None
        for other in gave_way:
            fail(other, _overloaded("It gave way to a client with fewer images waiting", self._latency.interval))
        return job

    def _abandon(self, job: ImageJob) -> None:
        self._queue.discard(job)
        if job.number in self._running and self._send:
            self._send(messages.Cancel(job.number))

    # In between.

    def _advance(self) -> None:
        """Hand over what is decoded, and decode as far ahead as there are credits."""
        self._hand_over()
        now = time.monotonic()
        while self._latency and self.in_service < self._credits:
            job, late = self._queue.pop(now, self._latency, idle=self.in_service == 0)
            for other in late:
                fail(other, _overloaded("It can no longer be answered in time", self._latency.wait(len(self._queue))))
            if job is None:
                break
            assert isinstance(job, ImageJob)
            job.slot = self._free.pop()
            self._decoding.add(job)
            if self._at_once(job):
                self._decoded_with(job, attempt(partial(self._decode, job)))
                self._hand_over()
            else:
                self._decoders.submit(partial(self._decode, job), partial(self._finish_decode, job))
        if self._metrics:
            self._metrics.queue.set(len(self._queue))
            self._metrics.service.set(self.in_service)

    def _at_once(self, job: ImageJob) -> bool:
        """Whether the image is decoded on the event loop."""
        solo = self.in_service == 1 and not len(self._queue)
        return len(job.data) <= _AT_ONCE_BYTES and job.pixels <= (_ALONE_PIXELS if solo else _AT_ONCE_PIXELS)

    def _decode(self, job: ImageJob) -> None:
        spec = self._spec
        job.decode_started = time.monotonic()
        decode(job.data, self._slots.images[job.slot], resize=spec.resize, interpolation=spec.interpolation)
        job.decode_ended = time.monotonic()

    def _finish_decode(self, job: ImageJob, error: Exception | None) -> None:
        self._decoded_with(job, error)
        self._advance()

    def _decoded_with(self, job: ImageJob, error: Exception | None) -> None:
        self._decoding.discard(job)
        if error or job.cancelled or self._latency is None:
            self._free.append(job.slot)
        if isinstance(error, ImageError):
            fail(job, InvalidRequestError(str(error)))
        elif error:
            log.error("decoding failed", model=self._name, error=repr(error))
            fail(job, LostError("The image could not be decoded."))
        elif self._latency is None:
            fail(job, NotReadyError(f"Model {self._name} is not ready."))
        elif not job.cancelled:
            self._latency.observe_decode(job.decode_ended - job.decode_started)
            self._decoded.append(job)

    def _hand_over(self) -> None:
        while self._send and (line := self._returned or self._decoded):
            job = line.popleft()
            if job.cancelled:
                self._free.append(job.slot)
                self._lose(job)
            else:
                self._run(job)

    def _run(self, job: ImageJob) -> None:
        assert self._send
        solo = not (self._running or self._decoded or self._decoding or len(self._queue))
        self._running[job.number] = job
        self._slots.started[job.slot] = False
        # In the order in which they were taken: whoever waits beside the device is not overtaken any more.
        self._send(messages.Run(job.number, job.slot, job.decode_started, job.deadline, solo, job.suspect))

    def _answer(self, done: messages.Done) -> None:
        assert self._latency and self._metrics
        job = self._running.pop(done.job, None)
        if done.first:
            self._latency.observe_run(done.batch, done.ended - done.started, done.solo)
            self._metrics.batch.observe(done.batch)
            if done.new_shape:
                self._metrics.new_shapes.inc()
        if job is None:
            return
        self._acquit(job)
        self._metrics.images.inc()
        logits = self._slots.logits[job.slot].copy()
        self._free.append(job.slot)
        if not job.answer.done():
            job.answer.set_result(
                Answer(logits, job.decode_started, job.decode_ended, done.started, done.ended, done.batch)
            )

    def _release(self, number: int, error: ServiceError) -> ImageJob | None:
        job = self._running.pop(number, None)
        if job:
            self._free.append(job.slot)
            fail(job, error)
        return job

    def _lose(self, job: ImageJob) -> None:
        """A job will not run any more. A suspect that comes again is one still."""
        if job.suspect and job.data not in self.poison:
            self.poison.suspect(job.data)

    def _acquit(self, job: ImageJob) -> None:
        if job.suspect:
            self.poison.acquit(job.data)

    def _condemn(self, job: ImageJob) -> None:
        digest = self.poison.find(job.data)
        log.error("image ended two workers", model=self._name, sha256=digest, bytes=len(job.data))
        fail(job, LostError(_POISON))

    def _drop_poison(self) -> None:
        """Copies of an image that is poison would end two workers each: those that wait are refused too."""
        for job in (*self._queue, *self._decoding, *self._decoded, *self._returned):
            if not job.cancelled and job.data in self.poison:
                self._queue.discard(job)
                fail(job, InvalidRequestError(_POISON))


def _overloaded(what: str, wait: float) -> OverloadedError:
    return OverloadedError(f"{what}: the service is busy; try again in {wait:.2f} s or allow more time.", wait)
