"""Real gRPC servers for the client's and the CLI's tests, and both kinds of client."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from resserve.client import AsyncClient, Client, ModelStatus
from resserve.v1.classifier_pb2_grpc import ClassifierServicer, add_ClassifierServicer_to_server
from tests.support.colour_service import MIB, ColourService


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


class AsyncFromOutside:
    """An AsyncClient driven from blocking tests, each call on the one event loop."""

    def __init__(self, target: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(self._make(target, options))
        except BaseException:
            self._runner.close()
            raise

    async def _make(self, target: str, options: dict[str, Any]) -> AsyncClient:
        return AsyncClient(target, **options)

    def classify(self, images: Any, **options: Any) -> Any:
        return self._runner.run(self._client.classify(images, **options))

    def classify_stream(self, images: Iterable[Any], **options: Any) -> Iterator[Any]:
        stream = self._client.classify_stream(images, **options)
        try:
            while True:
                yield self._runner.run(anext(stream))
        except StopAsyncIteration:
            return
        finally:
            self._runner.run(stream.aclose())

    def list_models(self, **options: Any) -> list[ModelStatus]:
        return self._runner.run(self._client.list_models(**options))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=[Client, AsyncFromOutside], ids=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make clients of one kind; both kinds must pass every test."""
    clients: list[Any] = []

    def make(target: str, **options: Any) -> Any:
        clients.append(request.param(target, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def service() -> ColourService:
    return ColourService()


@pytest.fixture
def client(service: ColourService, serve: Callable[..., str], connect: Callable[..., Any]) -> Any:
    return connect(serve(service))
