"""A small service that speaks resserve.v1 on a real port and can be told to fail."""

import io
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from resserve.client import Prediction
from resserve.v1 import classifier_pb2 as pb
from resserve.v1.classifier_pb2_grpc import ClassifierServicer

COLOURS = ("red", "green", "blue")
MIB = 2**20
RED, GREEN, BLUE = (np.full((6, 8, 3), np.eye(3, dtype=np.uint8)[i] * 200 + 20, np.uint8) for i in range(3))
"""Pixels as uint8 [6, 8, 3]."""


def busy(message: str, retry_after: float) -> grpc.Status:
    """RESOURCE_EXHAUSTED with RetryInfo, as google.rpc defines it."""
    detail = any_pb2.Any()
    delay = duration_pb2.Duration(nanos=int(retry_after * 1e9))
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    code: int = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=[detail]))


class ColourService(ClassifierServicer):
    """Answers with the mean of each colour channel, so that every image has an answer of its own.

    Attributes:
        failures: what the next calls answer instead, one entry each: a code with its message, or a whole status.
        calls: how often each method was called.
        requests: every request of Classify and ClassifyStream that was answered.
        hang_up_after: requests of a stream after which it is closed without an error.
    """

    def __init__(self) -> None:
        self.failures: deque[tuple[grpc.StatusCode, str] | grpc.Status] = deque()
        self.calls: Counter[str] = Counter()
        self.requests: list[pb.ClassifyRequest] = []
        self.hang_up_after: int | None = None

    def Classify(  # noqa: N802
        self, request: pb.ClassifyRequest, context: grpc.ServicerContext
    ) -> pb.ClassifyResponse:
        self._called("Classify", context)
        return self._answer(request)

    def ClassifyStream(  # noqa: N802
        self, requests: Iterator[pb.ClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ClassifyResponse]:
        self._called("ClassifyStream", context)
        held: list[pb.ClassifyRequest] = []
        for count, request in enumerate(requests, 1):
            held.append(request)
            if len(held) == 2:  # pairs are answered the wrong way round
                yield self._answer(held.pop())
                yield self._answer(held.pop())
            if count == self.hang_up_after:
                return
        yield from map(self._answer, held)

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        self._called("ListModels", context)
        ready = pb.ModelStatus(
            model=_model(),
            state=pb.MODEL_STATE_READY,
            parameters=25_557_032,
            multiply_adds=4_089_184_256,
            input_height=224,
            input_width=200,
            labels=COLOURS,
            metrics={"top1": 0.75},
            metrics_data="colours",
            plan="2 lanes of 1 thread",
        )
        failed = pb.ModelStatus(
            model=pb.ServedModel(name="broken", version=3), state=pb.MODEL_STATE_FAILED, reason="model.onnx was altered"
        )
        return pb.ListModelsResponse(models=[ready, failed])

    def _called(self, method: str, context: grpc.ServicerContext) -> None:
        self.calls[method] += 1
        if self.failures:
            failure = self.failures.popleft()
            if isinstance(failure, grpc.Status):
                context.abort_with_status(failure)
            context.abort(*failure)

    def _answer(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        self.requests.append(request)
        if request.model == "unknown":
            error = pb.Error(code=grpc.StatusCode.NOT_FOUND.value[0], message="There is no model unknown.")
            return pb.ClassifyResponse(id=request.id, error=error)
        results = [_classify(image, request) for image in request.images]
        return pb.ClassifyResponse(id=request.id, model=_model(), results=results)


def _model() -> pb.ServedModel:
    return pb.ServedModel(
        name="colours",
        version=7,
        architecture="resnet50",
        precision="fp32",
        device="cpu",
        provider="CPUExecutionProvider",
        untrained=True,
    )


def _classify(data: bytes, request: pb.ClassifyRequest) -> pb.ImageResult:
    try:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
    except OSError:
        error = pb.Error(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="This is not an image.")
        return pb.ImageResult(error=error)
    means = pixels.mean((0, 1))
    order = np.argsort(-means)[: request.top_k]
    return pb.ImageResult(
        labels=[pb.Label(index=i, name=COLOURS[i], probability=means[i] / means.sum()) for i in order],
        logits=means if request.logits else [],
        timings=pb.Timings(decode=0.001, queue=0.002, compute=0.003, respond=0.004, total=0.010),
        batch_size=len(request.images),
    )


def png(pixels: np.ndarray) -> bytes:
    """The pixels as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def names(predictions: Iterable[Any]) -> list[str]:
    """The most probable class of each answer, or the name of its error."""
    return [p.labels[0].name if isinstance(p, Prediction) else type(p).__name__ for p in predictions]
