"""The one way in: images of a model to answers, whatever the protocol.

The clock, the gate that closes when the service drains, and all accounting (codes, rejections, stages) are here, so
that protocols only translate.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.dispatch.inputs import EncodedImage
from service.dispatch.job import Answer
from service.dispatch.ranking import Rank, rank
from service.dispatch.registry import Registry
from service.dispatch.version import BrokenVersion, Description, Version
from service.errors import ExpiredError, InvalidRequestError, NotReadyError, ServiceError
from service.telemetry.metrics import Metrics

# Each image is a task and an answer of its own.
MAX_IMAGES = 256

# The caller's clock starts before ours, and its cancel comes before our own notice of the deadline.
_SLACK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each stage, and from arrival to the finished answer; the stages add up to the total."""

    decode: float
    queue: float
    compute: float
    respond: float
    total: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image: the classes that were asked for, float32 [classes] logits, times and batch size."""

    ranks: list[Rank]
    logits: NDArray[np.float32]
    timings: Timings
    batch: int


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one request.

    Attributes:
        version: that answered.
        outcomes: of each image, in order.
        timings: of the image that was answered last.
    """

    version: Description
    outcomes: list[Prediction | ServiceError]
    timings: Timings


def ran_out(remaining: float | None) -> bool:
    """Whether a call that was cancelled with so many seconds left was cancelled for its deadline, not by its caller."""
    return remaining is not None and remaining <= _SLACK_SECONDS


class Inference:
    """Answers requests from the versions of a registry."""

    def __init__(self, registry: Registry, metrics: Metrics, default_deadline: float) -> None:
        """Answer from now on.

        Args:
            registry: of this frontend.
            metrics: of this process.
            default_deadline: seconds, for requests that bring none.
        """
        self.registry = registry
        self._metrics = metrics
        self._default_deadline = default_deadline
        self._answering = 0
        self._is_draining = False
        self._idle = asyncio.Event()

    def drain(self) -> asyncio.Event:
        """Refuse requests from now on; the event is set once those that were accepted are answered."""
        self._is_draining = True
        if not self._answering:
            self._idle.set()
        return self._idle

    async def classify(
        self,
        model: str,
        version: int,
        images: Sequence[bytes],
        *,
        client: str,
        seconds: float | None = None,
        level: int = 0,
        top_k: int,
    ) -> Result:
        """Classify the images of one request.

        Args:
            model: its name; may be empty where only one is served.
            version: its number; 0 leaves it to the registry.
            images: encoded.
            client: shares fairly with others.
            seconds: until its deadline; None takes the default.
            level: of priority: -1, 0 or 1.
            top_k: classes in each answer.

        Raises:
            ServiceError: the whole request failed. Where some images were answered, the others' errors are outcomes.
        """
        received = time.monotonic()
        deadline = received + (self._default_deadline if seconds is None else seconds)
        found = self._find(model, version, images)
        code = ServiceError.code
        self._answering += 1
        try:
            async with asyncio.timeout(self._default_deadline if seconds is None else None):
                answers = await self._answer_all(found, images, client, deadline, level)
            code = "OK"
        except ServiceError as error:
            code = error.code
            raise
        except TimeoutError:
            code = ExpiredError.code
            self._count_rejection(found.key.name, ExpiredError.reason)
            raise ExpiredError(f"Not answered within the default deadline of {self._default_deadline:g} s.") from None
        except asyncio.CancelledError:
            late = ran_out(deadline - time.monotonic())
            code = ExpiredError.code if late else "CANCELLED"
            self._count_rejection(found.key.name, ExpiredError.reason if late else "cancelled")
            raise
        finally:
            self._answering -= 1
            if self._is_draining and not self._answering:
                self._idle.set()
            if found.metrics and code != "OK":
                found.metrics.request(code, time.monotonic() - received)
        return _finish(found, answers, received, top_k)

    def _find(self, model: str, version: int, images: Sequence[bytes]) -> Version:
        try:
            found = self.registry.resolve(model, version)
            if len(images) > MAX_IMAGES:
                raise InvalidRequestError(
                    f"The request has more than {MAX_IMAGES} images: send several requests, or use ClassifyStream."
                )
            if self._is_draining:
                raise NotReadyError("The service is stopping.")
        except ServiceError as error:
            self._count_rejection("", error.reason)
            raise
        return found

    async def _answer_all(
        self, version: Version, images: Sequence[bytes], client: str, deadline: float, level: int
    ) -> list[Answer | ServiceError]:
        """Answer each image. Where no image was classified, and all for one reason, the request fails with it."""
        if not images:
            self._count_rejection(version.key.name, InvalidRequestError.reason)
            raise InvalidRequestError("The request has no image; put at least one into `images`.")
        waiting = (self._answer(version, data, client, deadline, level) for data in images)
        # A task for the one image that most requests have would only cost its making.
        answers = [await next(waiting)] if len(images) == 1 else await asyncio.gather(*waiting)
        first = answers[0]
        try:
            if isinstance(first, ServiceError) and all(type(answer) is type(first) for answer in answers):
                raise first
            return answers
        finally:
            # Break the cycle of exception, traceback, frame and request, so that the request is freed at once.
            del first, answers

    async def _answer(
        self, version: Version, data: bytes, client: str, deadline: float, level: int
    ) -> Answer | ServiceError:
        try:
            if isinstance(version, BrokenVersion) or version.description.state == "FAILED":
                raise NotReadyError(f"Model {version.key.name} is not ready: {version.description.reason}")
            image = EncodedImage(data, version.input_spec)
            return await version.dispatcher.classify(image, client=client, deadline=deadline, level=level)
        except ServiceError as error:
            self._count_rejection(version.key.name, error.reason)
            return error

    def _count_rejection(self, model: str, reason: str) -> None:
        self._metrics.rejected.labels(model, reason).inc()


def _finish(version: Version, answers: list[Answer | ServiceError], received: float, top_k: int) -> Result:
    """Rank the classes, stop the clock, and count."""
    ranks = [[] if isinstance(answer, ServiceError) else rank(answer.logits, top_k) for answer in answers]
    finished = time.monotonic()
    outcomes: list[Prediction | ServiceError] = []
    last, timings = 0.0, Timings(0.0, 0.0, 0.0, 0.0, 0.0)
    for answer, ranked in zip(answers, ranks, strict=True):
        if isinstance(answer, ServiceError):
            outcomes.append(answer)
            continue
        own = _time(answer, received, finished)
        outcomes.append(Prediction(ranked, answer.logits, own, answer.batch))
        if answer.run_ended > last:
            last, timings = answer.run_ended, own
    if version.metrics:
        version.metrics.request("OK", timings.total)
        version.metrics.stages((timings.decode, timings.queue, timings.compute, timings.respond))
    return Result(version.description, outcomes, timings)


def _time(answer: Answer, received: float, finished: float) -> Timings:
    decode = answer.decode_ended - answer.decode_started
    return Timings(
        decode=decode,
        queue=answer.run_started - received - decode,
        compute=answer.run_ended - answer.run_started,
        respond=finished - answer.run_ended,
        total=finished - received,
    )
