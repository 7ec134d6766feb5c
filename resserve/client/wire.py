"""What both clients share: the channel's options, requests, answers, and errors."""

import json
from collections.abc import Sequence
from typing import Literal, TypedDict, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from resserve import DEFAULT_TARGET
from resserve.client.images import Image, check_several, encode, is_image
from resserve.client.results import Prediction, prediction, served_model
from resserve.errors import (
    ClassifyError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    RejectedError,
    UnavailableError,
)
from resserve.v1 import classifier_pb2 as pb

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

Priority = Literal["low", "normal", "high"]
_PRIORITIES = {"low": pb.PRIORITY_LOW, "normal": pb.PRIORITY_NORMAL, "high": pb.PRIORITY_HIGH}

# gRPC retries by itself, with jitter and inside the call's deadline: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "resserve.v1.Classifier"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

CHANNEL_OPTIONS: Sequence[tuple[str, str | int]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Only what fits this buffer can be sent again; the default, 256 KiB, is less than one photo.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    # A service that was down is met again within 2 s of its return; the default is 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A proxy meant for the web would swallow calls to 127.0.0.1.
    ("grpc.enable_http_proxy", 0),
)

_ERRORS: dict[int, type[ClassifyError]] = {
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: InvalidInputError,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: DeadlineError,
    grpc.StatusCode.NOT_FOUND.value[0]: NotFoundError,
    grpc.StatusCode.UNAVAILABLE.value[0]: UnavailableError,
}
_NOT_REACHED = ("failed to connect", "errors resolving")
# What gRPC says where something else than HTTP/2 answers, by version.
_OTHER_PROTOCOL = ("Failed parsing HTTP/2", "http1.x server")
# grpc.aio's details when the stream ended while a message was being sent; the service's own status is lost.
_CUT_WHILE_SENDING = "Internal error from Core"


class Options(TypedDict, total=False):
    """Keyword arguments of every classifying call."""

    model: str | None
    """The model's name; may be left out while one model is served."""
    version: int | None
    """One version of it; None is the one being served."""
    top_k: int
    """How many classes to return for each image; 5 unless given."""
    logits: bool
    """Also return every logit."""
    priority: Priority
    """Which requests go first when the service is busy; "normal" unless given."""


def build_request(
    images: Sequence[bytes],
    *,
    request_id: str = "",
    model: str | None = None,
    version: int | None = None,
    top_k: int = 5,
    logits: bool = False,
    priority: Priority = "normal",
) -> pb.ClassifyRequest:
    """The message for these encoded images.

    Raises:
        InvalidInputError: it is larger than one message may be.
        ValueError: an option is out of range.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if priority not in _PRIORITIES:
        raise ValueError(f"priority must be low, normal or high, not {priority!r}")
    request = pb.ClassifyRequest(
        id=request_id,
        model=model or "",
        version=version or 0,
        images=images,
        top_k=top_k,
        logits=logits,
        priority=_PRIORITIES[priority],
    )
    if (size := request.ByteSize()) > MAX_MESSAGE_BYTES:
        raise InvalidInputError(
            f"This request has {size / 2**20:.0f} MiB and one message may have {MAX_MESSAGE_BYTES // 2**20}: send "
            "fewer images at a time, or use classify_stream."
        )
    return request


class Exchange:
    """One call of Classify: the request for the images, and what the response means to the caller.

    Attributes:
        request: holds the images that can be read; None where there are none, and so nothing to call for.

    Raises:
        ClassifyError: the one image cannot be read, what was given is no image, or the request is too large.
    """

    def __init__(self, images: Image | Sequence[Image], options: Options) -> None:
        self._single = is_image(images)
        if is_image(images):
            self._encoded: list[bytes | ClassifyError] = [encode(images)]
        else:
            check_several(images)
            self._encoded = [_try_encode(image) for image in cast(Sequence[Image], images)]
        readable = [image for image in self._encoded if isinstance(image, bytes)]
        self.request = build_request(readable, **options) if readable else None

    def result(self, response: pb.ClassifyResponse) -> Prediction | list[Prediction | ClassifyError]:
        """What `classify` returns.

        Raises:
            ClassifyError: the one image was not classified.
        """
        answers = iter(read_response(response))
        merged = [next(answers) if isinstance(image, bytes) else image for image in self._encoded]
        if not self._single:
            return merged
        if isinstance(merged[0], ClassifyError):
            raise merged[0]
        return merged[0]


def _try_encode(image: Image) -> bytes | ClassifyError:
    try:
        return encode(image)
    except ClassifyError as error:
        return error


def read_response(response: pb.ClassifyResponse) -> list[Prediction | ClassifyError]:
    """One entry per image of the request, in its order."""
    model = served_model(response.model)
    return [
        read_error(result.error) if result.HasField("error") else prediction(model, result)
        for result in response.results
    ]


def read_stream_response(response: pb.ClassifyResponse) -> tuple[int, Prediction | ClassifyError]:
    """The index that was sent as the request's id, and the answer for its one image."""
    answer = read_error(response.error) if response.HasField("error") else read_response(response)[0]
    return int(response.id), answer


def ended_early(target: str) -> UnavailableError:
    """The exception for a stream that the service closed without an error while images had no answer."""
    return UnavailableError(f"The service at {target} ended the stream before every image was answered: send the rest.")


def read_error(error: pb.Error) -> ClassifyError:
    """The exception for an error that travels as a value."""
    return _error(error.code, error.message, error.retry_after or None)


def call_error(error: grpc.RpcError, target: str) -> ClassifyError:
    """The exception for a call that failed."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    code, details = error.code(), error.details() or "no reason was given"
    if any(phrase in details for phrase in _OTHER_PROTOCOL):
        return UnavailableError(
            f"{target} answers, but does not speak gRPC: is it the HTTP port? Name the gRPC port, {DEFAULT_TARGET} "
            "unless told otherwise."
        )
    if code is grpc.StatusCode.UNAVAILABLE and details.startswith(_NOT_REACHED):
        return UnavailableError(
            f"Cannot reach a service at {target}: start it with `resserve serve`, or name another target."
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"The service at {target} is unavailable: {details}")
    if details == _CUT_WHILE_SENDING:
        return ended_early(target)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return UnavailableError(f"{target} speaks gRPC but is no ResServe service: name another target.")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(f"No answer from {target} before the deadline: allow a longer timeout.")
    return _error(code.value[0], details, _retry_after(error))


def _error(code: int, message: str, retry_after: float | None) -> ClassifyError:
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]:
        return RejectedError(message, retry_after)
    return _ERRORS.get(code, ClassifyError)(message)


def _retry_after(error: grpc.Call | grpc.aio.AioRpcError) -> float | None:
    status = rpc_status.from_call(cast(grpc.Call, error))  # asks both for the same three methods
    info = error_details_pb2.RetryInfo()
    if status and any(detail.Unpack(info) for detail in status.details):
        return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None
