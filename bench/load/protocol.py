"""The seam between the load generator and a server's protocol: bytes to send, bytes to read."""

from collections.abc import Mapping
from typing import Protocol

from resserve.v1 import classifier_pb2 as pb


class WireProtocol(Protocol):
    """One unary gRPC method that classifies an encoded image."""

    method: str  # "/package.Service/Method"

    def request(self, image: bytes, model: str) -> bytes:
        """The serialised request for one encoded image."""
        ...

    def code(self, answer: bytes) -> int:
        """The google.rpc.Code of the answer's image: 0 when it was classified."""
        ...


class Classify:
    """`resserve.v1.Classifier/Classify` with one image a request."""

    method = "/resserve.v1.Classifier/Classify"

    def request(self, image: bytes, model: str) -> bytes:
        """The serialised ClassifyRequest, for the top 5 classes."""
        return pb.ClassifyRequest(model=model, images=[image]).SerializeToString()

    def code(self, answer: bytes) -> int:
        """The code of the one result."""
        return int(pb.ClassifyResponse.FromString(answer).results[0].error.code)


PROTOCOLS: Mapping[str, WireProtocol] = {"resserve": Classify()}
