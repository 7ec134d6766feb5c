"""One model version in a frontend: the way of every image between its arrival and its answer."""

import asyncio
import time
from collections.abc import Iterable

from service.dispatch.admission import Policy, Queue, RefusedError
from service.dispatch.decoding import DecodingStage
from service.dispatch.in_flight import AttachedWorker, InFlight
from service.dispatch.inputs import Input
from service.dispatch.job import Answer, ImageJob, Stage
from service.dispatch.quarantine import Quarantine
from service.errors import (
    ExpiredError,
    LostError,
    NoRoomError,
    NotReadyError,
    OverloadedError,
    ServiceError,
)
from service.images.threads import Decoders
from service.ipc.messages import Done, Dropped, Failed, Message
from service.ipc.slots import Slots
from service.telemetry.logs import log


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
        self._quarantine = quarantine
        self._loop = asyncio.get_running_loop()
        self._worker: AttachedWorker | None = None
        self._queue: Queue[ImageJob] = Queue(policy)
        self._decoding = DecodingStage(slots, decoders, self._on_decoded, self._advance)
        self._in_flight = InFlight(slots)
        self._numbers = 0

    @property
    def in_service(self) -> int:
        """Images from the start of their decoding to the end of their run."""
        return self._decoding.in_service

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
            self._quarantine.blame(job)
        self._drop_blocked()

    def fail(self, reason: str) -> None:
        """Refuse everything that waits: no worker will come."""
        self._worker = None
        sentence = f"Model {self._name} is not ready: {reason}"
        for line in (self._in_flight.returned, self._decoding.decoded):
            while line:
                job = line.popleft()
                self._forget(job)
                job.fail(NotReadyError(sentence))
        for waiting in self._queue.drain():
            waiting.fail(NotReadyError(sentence))

    def on_message(self, message: Message, fd: int | None = None) -> None:
        """Take a worker's answer, which never brings a descriptor."""
        match message:
            case Done():
                job = self._in_flight.finish(message)
                if self._worker:
                    self._worker.observe(message)
                self._leave(job)
            case Dropped(number):
                if job := self._in_flight.take(number):
                    job.fail(ExpiredError("The deadline passed before the model could run."))
                    self._forget(job)
            case Failed(number, error):
                log.error("run failed", model=self._name, job=number, error=error)
                job = self._in_flight.take(number)
                if job:
                    job.fail(LostError("The model failed on this image."))
                self._leave(job)
        self._advance()

    def block(self, digests: Iterable[bytes]) -> None:
        """Refuse the images with these SHA-256, which other frontends have blocked."""
        self._quarantine.learn(digests)
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
        suspect = self._quarantine.check(image)
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
            suspect=suspect,
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
        while len(self._queue) and (in_service := self.in_service) < worker.credits:
            job, late = self._queue.pop(now, worker.latency, idle=in_service == 0)
            for other in late:
                other.fail(_overloaded("It can no longer be answered in time", worker.latency.wait(len(self._queue))))
            if job is None:
                break
            self._decoding.start(job, alone=not (in_service or len(self._queue)))
            self._hand_over()
        worker.metrics.queue.set(len(self._queue))
        worker.metrics.in_flight.set(self.in_service)

    def _on_decoded(self, job: ImageJob, error: Exception | None) -> None:
        if error is None and not job.cancelled and self._worker:
            self._worker.latency.observe_decode(job.decode_ended - job.decode_started)
            if job.mended:
                self._worker.metrics.mended.inc()
            job.stage = Stage.DECODED
            self._decoding.decoded.append(job)
            return
        self._decoding.release(job)
        if isinstance(error, ServiceError):
            job.fail(error)
        elif error:
            log.error("decoding failed", model=self._name, error=repr(error))
            job.fail(LostError("The image could not be decoded."))
        elif not job.cancelled:
            job.fail(NotReadyError(f"Model {self._name} is not ready."))

    def _hand_over(self) -> None:
        if (worker := self._worker) is None or not worker.is_connected:
            return
        while line := self._in_flight.returned or self._decoding.decoded:
            job = line.popleft()
            if job.cancelled:
                self._forget(job)
                continue
            solo = self._decoding.is_idle and not (self._in_flight.is_running or len(self._queue))
            self._in_flight.hand_over(job, worker, solo=solo)

    def _leave(self, job: ImageJob | None) -> None:
        """Let go of a job that has run."""
        if job:
            self._decoding.release(job)
            if job.suspect:
                self._quarantine.clear(job)

    def _forget(self, job: ImageJob) -> None:
        """Let go of a decoded job that will not run."""
        self._decoding.release(job)
        self._quarantine.remember(job)

    def _drop_blocked(self) -> None:
        for job in self._quarantine.refuse((*self._queue, *self._decoding, *self._in_flight.returned)):
            self._queue.discard(job)


def _overloaded(what: str, wait: float) -> OverloadedError:
    return OverloadedError(f"{what}: the service is busy; try again in {wait:.2f} s or allow more time.", wait)
