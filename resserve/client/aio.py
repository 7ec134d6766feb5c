"""The client for asyncio."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Self, Unpack, overload

import grpc

from resserve import DEFAULT_TARGET
from resserve.addresses import grpc_target
from resserve.client.images import Image, check_several, encode
from resserve.client.results import ModelStatus, Prediction, model_status
from resserve.client.wire import (
    CHANNEL_OPTIONS,
    Exchange,
    Options,
    build_request,
    call_error,
    ended_early,
    read_stream_response,
)
from resserve.errors import ClassifyError
from resserve.v1 import classifier_pb2 as pb
from resserve.v1.classifier_pb2_grpc import ClassifierStub


class AsyncClient:
    """`Client` for asyncio: the same arguments, results and errors. Make it where the event loop runs.

    Args:
        target: host:port of the service's gRPC port; 8001 where no port is named.
        timeout: seconds that a call may take, the service's queue included, unless the call says otherwise.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = 30.0) -> None:
        self._target = target = grpc_target(target)
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
        self._stub = ClassifierStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way fail."""
        await self._channel.close()

    # A path is, as text, also a sequence of texts; the first overload takes it.
    @overload
    async def classify(  # type: ignore[overload-overlap]
        self, images: Image, *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Prediction: ...

    @overload
    async def classify(
        self, images: Sequence[Image], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> list[Prediction | ClassifyError]: ...

    async def classify(
        self, images: Image | Sequence[Image], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Prediction | list[Prediction | ClassifyError]:
        """Classify one image, or several in one request; see `Client.classify`."""
        # Files are read and pixels compressed in a thread, so that the event loop stays free.
        exchange = await asyncio.to_thread(Exchange, images, options)
        response = pb.ClassifyResponse()
        if exchange.request:
            try:
                response = await self._stub.Classify(
                    exchange.request, timeout=self._timeout if timeout is None else timeout
                )
            except grpc.RpcError as error:
                raise call_error(error, self._target) from error
        return exchange.result(response)

    async def classify_stream(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        in_flight: int = 16,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[tuple[int, Prediction | ClassifyError]]:
        """Classify any number of images over one stream, each a request of its own; see `Client.classify_stream`."""
        check_several(images)
        requests: asyncio.Queue[pb.ClassifyRequest | None] = asyncio.Queue()
        call = self._stub.ClassifyStream(_drain(requests), timeout=timeout)
        answers = aiter(call)
        index = waiting = 0
        try:
            async for image in _each(images):
                try:
                    encoded = await asyncio.to_thread(encode, image)
                    request = build_request([encoded], request_id=str(index), **options)
                except ClassifyError as error:
                    yield index, error
                    continue
                finally:
                    index += 1
                requests.put_nowait(request)
                waiting += 1
                if waiting >= in_flight:
                    yield read_stream_response(await anext(answers))
                    waiting -= 1
            requests.put_nowait(None)
            while waiting:
                yield read_stream_response(await anext(answers))
                waiting -= 1
        except StopAsyncIteration:
            raise ended_early(self._target) from None
        except grpc.RpcError as error:
            raise call_error(error, self._target) from error
        finally:
            call.cancel()

    async def list_models(self, *, timeout: float | None = None) -> list[ModelStatus]:
        """Every model version that the service knows; see `Client.list_models`."""
        try:
            response = await self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._timeout if timeout is None else timeout
            )
        except grpc.RpcError as error:
            raise call_error(error, self._target) from error
        return [model_status(message) for message in response.models]


async def _drain(requests: asyncio.Queue[pb.ClassifyRequest | None]) -> AsyncIterator[pb.ClassifyRequest]:
    while (request := await requests.get()) is not None:
        yield request


async def _each(images: Iterable[Image] | AsyncIterable[Image]) -> AsyncIterator[Image]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image
