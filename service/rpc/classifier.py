"""resserve.v1.Classifier: translates between messages and `dispatch.inference`, and nothing more."""

import asyncio
from collections.abc import AsyncIterator

import grpc

from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc
from service.dispatch.inference import Inference, Prediction, Result, Timings
from service.dispatch.version import Description
from service.errors import ServiceError
from service.rpc.status import to_message

Context = grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]

_DEFAULT_TOP_K = 5
_LEVELS = {pb.PRIORITY_UNSPECIFIED: 0, pb.PRIORITY_LOW: -1, pb.PRIORITY_NORMAL: 0, pb.PRIORITY_HIGH: 1}
# Requests of one stream that are answered at the same time; the next is read when one is done.
_STREAM_WINDOW = 256


class Classifier(pb_grpc.ClassifierServicer):
    """Answers over gRPC."""

    def __init__(self, inference: Inference) -> None:
        """`inference` gives the answers."""
        self._inference = inference

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """One request, one answer."""
        return await self._answer(request, context)

    async def ClassifyStream(self, requests: AsyncIterator[pb.ClassifyRequest], context: Context) -> None:  # noqa: N802
        """Each request is answered when it is done; a bad one is answered with its error."""
        window, writing = asyncio.Semaphore(_STREAM_WINDOW), asyncio.Lock()

        async def answer(request: pb.ClassifyRequest) -> None:
            try:
                response = await self._answer(request, context)
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
        return pb.ListModelsResponse(models=[_status(version.description) for version in self._inference.registry])

    async def _answer(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        result = await self._inference.classify(
            request.model,
            request.version,
            request.images,
            client=context.peer(),
            seconds=context.time_remaining(),
            level=_LEVELS.get(request.priority, 0),
            top_k=request.top_k or _DEFAULT_TOP_K,
        )
        return _response(request, result)


def _response(request: pb.ClassifyRequest, result: Result) -> pb.ClassifyResponse:
    response = pb.ClassifyResponse(id=request.id, model=_served(result.version), timings=_timings(result.timings))
    for outcome in result.outcomes:
        if isinstance(outcome, ServiceError):
            response.results.add(error=to_message(outcome))
        else:
            _add_result(response, outcome, result.version.labels, with_logits=request.logits)
    return response


def _add_result(response: pb.ClassifyResponse, prediction: Prediction, names: list[str], *, with_logits: bool) -> None:
    added = response.results.add(batch_size=prediction.batch, timings=_timings(prediction.timings))
    for rank in prediction.ranks:
        added.labels.add(index=rank.index, name=names[rank.index], probability=rank.probability)
    if with_logits:
        added.logits.extend(prediction.logits.tolist())


def _timings(timings: Timings) -> pb.Timings:
    return pb.Timings(
        decode=timings.decode,
        queue=timings.queue,
        compute=timings.compute,
        respond=timings.respond,
        total=timings.total,
    )


def _served(version: Description) -> pb.ServedModel:
    return pb.ServedModel(
        name=version.name,
        version=version.version,
        architecture=version.architecture,
        precision=version.precision,
        device=version.device,
        provider=version.provider,
        untrained=version.untrained,
    )


def _status(version: Description) -> pb.ModelStatus:
    height, width = version.input
    return pb.ModelStatus(
        model=_served(version),
        state=f"MODEL_STATE_{version.state}",
        reason=version.reason,
        plan=version.plan,
        parameters=version.parameters,
        multiply_adds=version.multiply_adds,
        input_height=height,
        input_width=width,
        labels=version.labels,
        metrics=version.metrics,
        metrics_data=version.metrics_data,
    )
