"""Real gRPC servers for the client's and the CLI's tests."""

from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest

from resserve.v1.classifier_pb2_grpc import ClassifierServicer, add_ClassifierServicer_to_server
from tests.resserve.colours import MIB


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start services on free ports: `serve(service)` returns the target, `serve(service, target)` takes that one."""
    servers: list[grpc.Server] = []

    def start(service: ClassifierServicer, target: str = "127.0.0.1:0") -> str:
        options = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]
        server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        add_ClassifierServicer_to_server(service, server)
        port = server.add_insecure_port(target)
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()
