"""resserve.v1.Classifier: translates between messages and the models' dispatchers, and nothing more."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
import numpy as np

from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc
from service.dispatch.job import Answer
from service.dispatch.model import Model
from service.errors import (
    ExpiredError,
    InvalidRequestError,
    NotReadyError,
    ServiceError,
    TooLargeError,
    UnknownModelError,
)
from service.images import header as image_header
from service.rpc.parse import MAX_IMAGES
from service.rpc.status import ran_out, to_message
from service.telemetry.metrics import Metrics

Context = grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]

_DEFAULT_TOP_K = 5
_LEVELS = {pb.PRIORITY_UNSPECIFIED: 0, pb.PRIORITY_LOW: -1, pb.PRIORITY_NORMAL: 0, pb.PRIORITY_HIGH: 1}
# Requests of one stream that are answered at the same time; the next is read when one is done.
_STREAM_WINDOW = 256
# A status message has to fit into a header of 16 kB, and the caller knows what it sent.
_MAX_NAME_CHARS = 100


class Classifier(pb_grpc.ClassifierServicer):
    """Answers over gRPC; `answer` is also what the HTTP page calls."""

    def __init__(self, models: Mapping[str, Model], metrics: Metrics, default_deadline: float) -> None:
        """`default_deadline`: seconds, for calls that bring none."""
        self._models = models
        self._metrics = metrics
        self._default_deadline = default_deadline
        self._answering = 0
        self._draining = False
        self._idle = asyncio.Event()

    def drain(self) -> asyncio.Event:
        """Refuse requests from now on; what is returned is set once those that were accepted are answered."""
        self._draining = True
        if not self._answering:
            self._idle.set()
        return self._idle

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """One request, one answer."""
        return await self.answer(request, context.peer(), context.time_remaining())

    async def ClassifyStream(self, requests: AsyncIterator[pb.ClassifyRequest], context: Context) -> None:  # noqa: N802
        """Each request is answered when it is done; a bad one is answered with its error."""
        window, writing = asyncio.Semaphore(_STREAM_WINDOW), asyncio.Lock()

        async def answer(request: pb.ClassifyRequest) -> None:
            try:
                response = await self.answer(request, context.peer(), context.time_remaining())
            except ServiceError as error:
                response = pb.ClassifyResponse(id=request.id, error=to_message(error))
            finally:
                window.release()
            async with writing:
                await context.write(response)

        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    await window.acquire()
                    group.create_task(answer(request))
                    del request  # or it would be kept until the next one comes
        except BaseExceptionGroup as errors:  # what was read was no request, or reading was broken off
            raise errors.exceptions[0] from None

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        """Every model version, whatever its state."""
        return pb.ListModelsResponse(models=[model.status for model in self._models.values()])

    async def answer(self, request: pb.ClassifyRequest, client: str, seconds: float | None) -> pb.ClassifyResponse:
        """Classify the images of one request.

        Args:
            request: the message.
            client: who shares fairly with others.
            seconds: until its deadline; None takes the default.

        Raises:
            ServiceError: the whole request failed.
        """
        received = time.monotonic()
        deadline = received + (self._default_deadline if seconds is None else seconds)
        model = self._model(request)
        code = grpc.StatusCode.INTERNAL
        self._answering += 1
        try:
            async with asyncio.timeout(self._default_deadline if seconds is None else None):
                outcomes = await self._outcomes(model, request, client, deadline)
            code = grpc.StatusCode.OK
        except ServiceError as error:
            code = error.code
            raise
        except TimeoutError:
            code = ExpiredError.code
            self._reject(model.name, ExpiredError.reason)
            raise ExpiredError(f"Not answered within the default deadline of {self._default_deadline:g} s.") from None
        except asyncio.CancelledError:
            late = ran_out(deadline - time.monotonic())
            code = ExpiredError.code if late else grpc.StatusCode.CANCELLED
            self._reject(model.name, ExpiredError.reason if late else "cancelled")
            raise
        finally:
            self._answering -= 1
            if self._draining and not self._answering:
                self._idle.set()
            if model.metrics and code != grpc.StatusCode.OK:
                model.metrics.request(code.name, time.monotonic() - received)
        return _response(model, request, outcomes, received)

    def _model(self, request: pb.ClassifyRequest) -> Model:
        names = ", ".join(self._models)
        try:
            if not request.model and len(self._models) > 1:
                raise InvalidRequestError(f"Several models are served; name one of: {names}.")
            model = self._models.get(request.model) if request.model else next(iter(self._models.values()))
            if model is None:
                raise UnknownModelError(f"There is no model {request.model[:_MAX_NAME_CHARS]!r}; there is: {names}.")
            number = model.version.number
            if request.version not in (0, number):
                raise UnknownModelError(f"Model {model.name} is served in version {number}, not {request.version}.")
            if len(request.images) > MAX_IMAGES:
                raise InvalidRequestError(
                    f"The request has more than {MAX_IMAGES} images: send several requests, or use ClassifyStream."
                )
            if self._draining:
                raise NotReadyError("The service is stopping.")
        except ServiceError as error:
            self._reject("", error.reason)
            raise
        return model

    async def _outcomes(
        self, model: Model, request: pb.ClassifyRequest, client: str, deadline: float
    ) -> list[Answer | ServiceError]:
        """One for each image. Where no image was classified, and all for one reason, the request fails with it."""
        if not request.images:
            self._reject(model.name, InvalidRequestError.reason)
            raise InvalidRequestError("The request has no image; put at least one into `images`.")
        level = _LEVELS.get(request.priority, 0)
        waiting = (self._outcome(model, data, client, deadline, level) for data in request.images)
        # A task for the one image that most requests have would only cost its making.
        outcomes = [await next(waiting)] if len(request.images) == 1 else await asyncio.gather(*waiting)
        first = outcomes[0]
        try:
            if isinstance(first, ServiceError) and all(type(outcome) is type(first) for outcome in outcomes):
                raise first
            return outcomes
        finally:
            # What is raised refers to this frame, which refers to it and to the request: none would be freed at once.
            del first, outcomes

    async def _outcome(
        self, model: Model, data: bytes, client: str, deadline: float, level: int
    ) -> Answer | ServiceError:
        try:
            if model.dispatcher is None or model.state == "FAILED":
                raise NotReadyError(f"Model {model.name} is not ready: {model.reason}")
            try:
                header = image_header.check(data)
            except image_header.TooLargeError as error:
                raise TooLargeError(str(error)) from None
            except image_header.ImageError as error:
                raise InvalidRequestError(str(error)) from None
            pixels = header.width * header.height
            return await model.dispatcher.classify(data, pixels, client=client, deadline=deadline, level=level)
        except ServiceError as error:
            self._reject(model.name, error.reason)
            return error

    def _reject(self, model: str, reason: str) -> None:
        self._metrics.rejected.labels(model, reason).inc()


def _response(
    model: Model, request: pb.ClassifyRequest, outcomes: list[Answer | ServiceError], received: float
) -> pb.ClassifyResponse:
    response = pb.ClassifyResponse(id=request.id, model=model.served)
    for outcome in outcomes:
        if isinstance(outcome, ServiceError):
            response.results.add(error=to_message(outcome))
        else:
            _add_result(response, outcome, request, model.classes)
    finished = time.monotonic()
    last = 0.0
    for outcome, result in zip(outcomes, response.results, strict=True):
        if isinstance(outcome, Answer):
            _time(result.timings, outcome, received, finished)
            if outcome.run_ended > last:
                last = outcome.run_ended
                response.timings.CopyFrom(result.timings)
    if model.metrics:
        timings = response.timings
        model.metrics.request("OK", timings.total)
        model.metrics.stages((timings.decode, timings.queue, timings.compute, timings.respond))
    return response


def _add_result(
    response: pb.ClassifyResponse, answer: Answer, request: pb.ClassifyRequest, labels: Sequence[str]
) -> None:
    logits = answer.logits
    count = min(request.top_k or _DEFAULT_TOP_K, len(logits))
    result = response.results.add(batch_size=answer.batch)
    # The largest logit is taken off first, so that none overflows.
    weights = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = weights / weights.sum()
    best = np.argpartition(-logits, count - 1)[:count]
    for index in sorted(best.tolist(), key=lambda index: (-logits[index], index)):
        result.labels.add(index=index, name=labels[index], probability=probabilities[index])
    if request.logits:
        result.logits.extend(logits.tolist())


def _time(timings: pb.Timings, answer: Answer, received: float, finished: float) -> None:
    timings.decode = answer.decode_ended - answer.decode_started
    timings.queue = answer.run_started - received - timings.decode
    timings.compute = answer.run_ended - answer.run_started
    timings.respond = finished - answer.run_ended
    timings.total = finished - received
