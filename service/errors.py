"""What can go wrong with a request, and the one status code for each.

Where it goes wrong: rpc (InvalidRequest, UnknownModel) → admission (Overloaded, NotReady) → decoding (InvalidRequest)
→ the worker (Lost). Whatever is none of these is INTERNAL with an opaque id that the log has too.
"""

import grpc


class ServiceError(Exception):
    """Base of all. The message is for the caller."""

    code = grpc.StatusCode.INTERNAL
    reason = "internal"  # label of resserve_rejected_total

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        """`retry_after`: seconds after which a retry may be accepted; 0: not known."""
        super().__init__(message)
        self.retry_after = retry_after


class InvalidRequestError(ServiceError):
    """The caller's mistake: no image, a bad one, a model that was not named."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "invalid"


class NoMessageError(ServiceError):
    """The caller has gone, most likely."""

    code = grpc.StatusCode.CANCELLED
    reason = "cancelled"


class TooLargeError(InvalidRequestError):
    """An image over the limits, refused from its header."""

    reason = "too_large"


class UnknownModelError(ServiceError):
    """There is no such model or version."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "unknown_model"


class OverloadedError(ServiceError):
    """It cannot be answered in time, or there is no room for it to wait."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "deadline"


class NoRoomError(OverloadedError):
    """Too many bytes are waiting already."""

    reason = "memory"


class NotReadyError(ServiceError):
    """The model is loading or has failed, or the service is stopping."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "not_ready"


class ExpiredError(ServiceError):
    """Its time ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "expired"


class LostError(ServiceError):
    """The worker could not answer it: the run failed, or ended the worker."""

    reason = "lost"
