"""From the service's errors to gRPC's: a status code, a sentence, and when to try again."""

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from resserve.v1 import classifier_pb2 as pb
from service.errors import ServiceError


def status_code(error: ServiceError) -> grpc.StatusCode:
    """The status code of a call that ends with this error."""
    return grpc.StatusCode[error.code]


def to_message(error: ServiceError) -> pb.Error:
    """The error as part of an answer."""
    return pb.Error(code=code_pb2.Code.Value(error.code), message=str(error), retry_after=error.retry_after)


def trailing_metadata(error: ServiceError) -> tuple[tuple[str, bytes], ...]:
    """google.rpc.Status with RetryInfo in `grpc-status-details-bin`, where the error knows when to try again."""
    if not error.retry_after:
        return ()
    delay = Duration()
    delay.FromNanoseconds(int(error.retry_after * 1e9))
    detail = Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=str(error), details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)
