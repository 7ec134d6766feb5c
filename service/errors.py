"""Errors of a request, each with its one status code.

Where they arise: rpc (InvalidRequest) → dispatch (UnknownModel, NotReady, Overloaded) → images (InvalidRequest) → the
worker (Lost). Any other exception is INTERNAL with an opaque id that the log has too.
"""

from typing import ClassVar


class ServiceError(Exception):
    """Base of all. The message is for the caller.

    Attributes:
        code: name of a google.rpc.Code.
        reason: label of resserve_rejected_total.
        retry_after: seconds after which a retry may be accepted; 0: not known.
    """

    code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "internal"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidRequestError(ServiceError):
    """The caller's mistake: no image, a bad one, a model that was not named."""

    code = "INVALID_ARGUMENT"
    reason = "invalid"


class NoMessageError(ServiceError):
    """The call ended before its message; most likely the caller has gone."""

    code = "CANCELLED"
    reason = "cancelled"


class TooLargeError(InvalidRequestError):
    """An image over the limits, refused from its header."""

    reason = "too_large"


class UnknownModelError(ServiceError):
    """There is no such model or version."""

    code = "NOT_FOUND"
    reason = "unknown_model"


class OverloadedError(ServiceError):
    """It cannot be answered in time, or there is no room for it to wait."""

    code = "RESOURCE_EXHAUSTED"
    reason = "deadline"


class NoRoomError(OverloadedError):
    """Too many bytes are waiting already."""

    reason = "memory"


class NotReadyError(ServiceError):
    """The model is loading or has failed, or the service is stopping."""

    code = "UNAVAILABLE"
    reason = "not_ready"


class ExpiredError(ServiceError):
    """Its time ran out."""

    code = "DEADLINE_EXCEEDED"
    reason = "expired"


class LostError(ServiceError):
    """The worker could not answer it: the run failed, or ended the worker."""

    reason = "lost"


def codes() -> set[str]:
    """Every code that an error of a request can have."""
    return {kind.code for kind in _kinds(ServiceError)}


def reasons() -> set[str]:
    """Every reason for which a request or an image can be rejected."""
    return {kind.reason for kind in _kinds(ServiceError)}


def _kinds(base: type[ServiceError]) -> list[type[ServiceError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in _kinds(child))]
