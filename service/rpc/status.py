"""From the service's errors to what a caller gets: a status code, a sentence, and when to try again."""

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from resserve.v1 import classifier_pb2 as pb
from service.errors import ServiceError

# The caller's clock starts before ours, and its cancel comes before our own notice of the deadline.
_SLACK = 0.1  # seconds


def ran_out(remaining: float | None) -> bool:
    """Whether a call that was cancelled with so many seconds left was cancelled for its deadline, not by its caller."""
    return remaining is not None and remaining <= _SLACK


def to_message(error: ServiceError) -> pb.Error:
    """The error as part of an answer."""
    return pb.Error(code=error.code.value[0], message=str(error), retry_after=error.retry_after)


def trailing_metadata(error: ServiceError) -> tuple[tuple[str, bytes], ...]:
    """google.rpc.Status with RetryInfo in `grpc-status-details-bin`, where the error knows when to try again."""
    if not error.retry_after:
        return ()
    delay = Duration()
    delay.FromNanoseconds(int(error.retry_after * 1e9))
    detail = Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code.value[0], message=str(error), details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)
