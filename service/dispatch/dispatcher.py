"""One model version in a frontend: the way of every image between its arrival and its answer."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from functools import partial

from service.dispatch.admission import Policy, Queue, RefusedError
from service.dispatch.in_flight import AttachedWorker, InFlight
from service.dispatch.inputs import Input
from service.dispatch.job import Answer, ImageJob, Stage
from service.dispatch.quarantine import Quarantine
from service.errors import (
    ExpiredError,
    InvalidRequestError,
    LostError,
    NoRoomError,
    NotReadyError,
    OverloadedError,
    ServiceError,
)
from service.images.threads import Decoders, attempt
from service.ipc.messages import Done, Dropped, Failed, Message
from service.ipc.slots import Slots
from service.telemetry.logs import log

_BLOCKED = "This image has ended two workers and is not tried again."


class Dispatcher:
    """Admits images, decodes as many ahead as the worker has credits for, and hands them over.

    A worker's images go to the next one first when it ends. Those that it was running are suspected: the next one runs
    each suspect by itself. A suspect that ends a second worker is blocked: it is refused from then on, and its
    neighbours are served. Callers that give up meanwhile change nothing of that.
    """

    def __init__(self, name: str, policy: Policy, slots: Slots, decoders: Decoders, quarantine: Quarantine) -> None:
        """Start without a worker: nothing is admitted before `attach`.

        Args:
            name: the version's, for messages.
            policy: order and limits of the queue.
            slots: shared with the worker.
            decoders: threads.
            quarantine: of this version.
        """
        self._name, self._policy, self._slots = name, policy, slots
        self._decoders, self._quarantine = decoders, quarantine
        self._loop = asyncio.get_running_loop()
        self._worker: AttachedWorker | None = None
        self._queue: Queue[ImageJob] = Queue(policy)
        self._decoding: set[ImageJob] = set()
        self._decoded: deque[ImageJob] = deque()
        self._in_flight = InFlight(slots)
        self._free = list(range(slots.count))
        self._numbers = 0

    @property
    def in_service(self) -> int:
        """Images from the start of their decoding to the end of their run."""
        return len(self._decoding) + len(self._decoded) + len(self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether no image waits, is decoded, or runs."""
        return not (self.in_service or len(self._queue))

    # The worker's side.

    def attach(self, worker: AttachedWorker) -> None:
        """Use a worker that is ready. Images that the last one left go first."""
        if self._worker:
            # Predictions that were learned under load are better than those measured at load.
            worker.latency = self._worker.latency
        worker.credits = min(worker.credits, self._slots.count)
        self._worker = worker
        self._advance()

    def detach(self) -> None:
        """Let go of a worker that has ended; another will come, and nothing is lost."""
        if self._worker:
            self._worker.is_connected = False
        for job in self._in_flight.take_back():
            if job.suspect:
                digest = self._quarantine.block(job.input)
                log.error("image ended two workers", model=self._name, sha256=digest, bytes=job.size)
                job.fail(LostError(_BLOCKED))
            job.suspect = True
        self._drop_blocked()

    def fail(self, reason: str) -> None:
        """Refuse everything that waits: no worker will come."""
        self._worker = None
        error = f"Model {self._name} is not ready: {reason}"
        for line in (self._in_flight.returned, self._decoded):
            while line:
                job = line.popleft()
                self._forget(job)
                job.fail(NotReadyError(error))
        for waiting in self._queue.drain():
            waiting.fail(NotReadyError(error))

    def on_message(self, message: Message) -> None:
        """Take a worker's answer."""
        match message:
            case Done():
                self._finish(message)
            case Dropped(number):
                if job := self._end_run(number, ExpiredError("The deadline passed before the model could run.")):
                    self._remember_suspect(job)
            case Failed(number, error):
                log.error("run failed", model=self._name, job=number, error=error)
                if job := self._end_run(number, LostError("The model failed on this image.")):
                    self._clear_suspect(job)
        self._advance()

    def block(self, digests: Iterable[bytes]) -> None:
        """Refuse the images with these SHA-256, which other frontends have blocked."""
        for digest in digests:
            self._quarantine.learn(digest)
        self._drop_blocked()

    # The callers' side.

    async def classify(self, image: Input, *, client: str, deadline: float, level: int) -> Answer:
        """Decode and run one image.

        Args:
            image: its header was checked.
            client: shares fairly with others.
            deadline: on the monotonic clock.
            level: of priority: -1, 0 or 1.

        Raises:
            ServiceError: refused, undecodable, expired or lost.
        """
        if self._worker is None:
            raise NotReadyError(f"Model {self._name} is not ready.")
        if self._quarantine.is_blocked(image):
            raise InvalidRequestError(_BLOCKED)
        job = self._admit(image, self._worker, client, deadline, level)
        self._advance()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._queue.discard(job)
            if self._worker:
                self._in_flight.cancel(job, self._worker)
            raise
        finally:
            # An error that is raised refers to this frame, and the job's future to the error: nothing would be freed.
            del job

    def _admit(self, image: Input, worker: AttachedWorker, client: str, deadline: float, level: int) -> ImageJob:
        now = time.monotonic()
        self._numbers += 1
        job = ImageJob(
            number=self._numbers,
            client=client,
            deadline=deadline,
            latest_start=self._policy.latest_start(now, deadline),
            key=self._policy.key(now, deadline, level),
            size=image.size,
            input=image,
            answer=self._loop.create_future(),
            suspect=self._quarantine.is_suspect(image),
        )
        try:
            gave_way = self._queue.admit(job, now, worker.latency, self.in_service)
        except RefusedError as refused:
            if refused.reason == "memory":
                raise NoRoomError("Too many bytes of images are waiting; try again later.", refused.wait) from None
            raise _overloaded("It cannot be answered in time", refused.wait) from None
        for other in gave_way:
            other.fail(_overloaded("It gave way to a client with fewer images waiting", worker.latency.interval))
        return job

    # The pump.

    def _advance(self) -> None:
        """Hand over what is decoded, and decode as far ahead as there are credits."""
        self._hand_over()
        if (worker := self._worker) is None:
            return
        now = time.monotonic()
        while self.in_service < worker.credits:
            job, late = self._queue.pop(now, worker.latency, idle=self.in_service == 0)
            for other in late:
                other.fail(_overloaded("It can no longer be answered in time", worker.latency.wait(len(self._queue))))
            if job is None:
                break
            self._start_decoding(job)
        worker.metrics.queue.set(len(self._queue))
        worker.metrics.in_flight.set(self.in_service)

    def _start_decoding(self, job: ImageJob) -> None:
        alone = self.is_idle
        job.stage = Stage.DECODING
        job.slot = self._free.pop()
        self._decoding.add(job)
        if job.input.is_quick(alone=alone):
            self._decoded_with(job, attempt(partial(self._decode, job)))
            self._hand_over()
        else:
            self._decoders.submit(partial(self._decode, job), partial(self._finish_decoding, job))

    def _decode(self, job: ImageJob) -> None:
        job.decode_started = time.monotonic()
        job.input.write(self._slots.images[job.slot])
        job.decode_ended = time.monotonic()

    def _finish_decoding(self, job: ImageJob, error: Exception | None) -> None:
        self._decoded_with(job, error)
        self._advance()

    def _decoded_with(self, job: ImageJob, error: Exception | None) -> None:
        self._decoding.discard(job)
        if error is None and not job.cancelled and self._worker:
            self._worker.latency.observe_decode(job.decode_ended - job.decode_started)
            job.stage = Stage.DECODED
            self._decoded.append(job)
            return
        self._leave(job)
        if isinstance(error, ServiceError):
            job.fail(error)
        elif error:
            log.error("decoding failed", model=self._name, error=repr(error))
            job.fail(LostError("The image could not be decoded."))
        elif not job.cancelled:
            job.fail(NotReadyError(f"Model {self._name} is not ready."))

    def _hand_over(self) -> None:
        while self._worker and self._worker.is_connected and (line := self._in_flight.returned or self._decoded):
            job = line.popleft()
            if job.cancelled:
                self._forget(job)
                continue
            solo = not (self._in_flight.is_running or self._decoded or self._decoding or len(self._queue))
            self._in_flight.hand_over(job, self._worker, solo=solo)

    def _finish(self, done: Done) -> None:
        job = self._in_flight.take(done.job)
        if self._worker and done.first:
            self._worker.latency.observe_run(done.batch, done.ended - done.started, done.solo)
            self._worker.metrics.batch.observe(done.batch)
            if done.new_shape:
                self._worker.metrics.new_shapes.inc()
        if job is None:
            return
        if self._worker:
            self._worker.metrics.images.inc()
        logits = self._slots.logits[job.slot].copy()
        self._leave(job)
        self._clear_suspect(job)
        if not job.answer.done():
            job.answer.set_result(
                Answer(logits, job.decode_started, job.decode_ended, done.started, done.ended, done.batch)
            )

    def _end_run(self, number: int, error: ServiceError) -> ImageJob | None:
        job = self._in_flight.take(number)
        if job:
            self._leave(job)
            job.fail(error)
        return job

    # The ends.

    def _leave(self, job: ImageJob) -> None:
        """Give back the slot of a job that has begun: the one place where that happens."""
        job.stage = Stage.OVER
        self._free.append(job.slot)

    def _forget(self, job: ImageJob) -> None:
        """Let go of a decoded job that will not run. A suspect that comes again is one still."""
        self._leave(job)
        self._remember_suspect(job)

    def _remember_suspect(self, job: ImageJob) -> None:
        if job.suspect:
            self._quarantine.suspect(job.input)

    def _clear_suspect(self, job: ImageJob) -> None:
        if job.suspect:
            self._quarantine.clear(job.input)

    def _drop_blocked(self) -> None:
        """Refuse copies of a blocked image that wait: they would end two workers each."""
        for job in (*self._queue, *self._decoding, *self._decoded, *self._in_flight.returned):
            if not job.cancelled and self._quarantine.is_blocked(job.input):
                self._queue.discard(job)
                job.fail(InvalidRequestError(_BLOCKED))


def _overloaded(what: str, wait: float) -> OverloadedError:
    return OverloadedError(f"{what}: the service is busy; try again in {wait:.2f} s or allow more time.", wait)
