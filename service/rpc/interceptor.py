"""Wraps every RPC of every service on the port: receiving and parsing, status code, metrics, log line."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from service.dispatch.inference import ran_out
from service.errors import InvalidRequestError, NoMessageError, ServiceError
from service.rpc.receive import Receiver
from service.rpc.status import status_code, trailing_metadata
from service.telemetry.logs import log
from service.telemetry.metrics import Metrics

Context = grpc.aio.ServicerContext[Any, Any]

_TYPES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


class Interceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions into codes, and counts how every RPC ended."""

    def __init__(self, metrics: Metrics, services: Iterable[ServiceDescriptor]) -> None:
        """Count from now on.

        Args:
            metrics: get the grpc_server series.
            services: that are offered. Each of their methods is counted from 0 on under every code, as
                go-grpc-middleware's InitializeMetrics has it.
        """
        for service in services:
            for method in service.methods:
                kind = _TYPES[method.client_streaming, method.server_streaming]
                for code in grpc.StatusCode:
                    metrics.handled.labels(kind, service.full_name, method.name, code.name)
        self._metrics, self._receiver = metrics, Receiver(metrics)
        # gRPC asks for the handler with every call; it is wrapped once.
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """The wrapped handler of a method; None where there is none, which gRPC answers with UNIMPLEMENTED."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is None and (handler := await continuation(details)):
            wrapped = self._wrapped[details.method] = self._wrap(handler, details.method)
        return wrapped

    def _wrap(self, handler: Any, path: str) -> Any:
        _, service, method = path.split("/")
        streams = (bool(handler.request_streaming), bool(handler.response_streaming))
        call = _Call(self._metrics, (_TYPES[streams], service, method))
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        incoming = _Incoming(self._receiver, handler.request_deserializer)

        async def work(context: Context) -> Any:
            request = incoming.all(context) if handler.request_streaming else await incoming.one(context)
            answer = behaviour(request, context)
            return await (_write_all(answer, context) if handler.response_streaming else answer)

        async def observed(_: Any, context: Context) -> Any:
            return await call.watch(work(context), context)

        # gRPC would receive the one message of a unary call before anyone could ask whether there is memory for it.
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(observed, None, handler.response_serializer)


class _Incoming:
    """The requests of one method."""

    def __init__(self, receiver: Receiver, deserialize: Callable[[bytes], Any]) -> None:
        self._receiver, self._deserialize = receiver, deserialize

    async def one(self, context: Context) -> Any:
        data = await self._receiver.receive(context)
        if data is grpc.aio.EOF:
            raise NoMessageError("The call ended before its message had come.")
        try:
            return self._deserialize(data)
        except Exception:
            raise InvalidRequestError("The message is not the one that this method takes: see the .proto.") from None

    async def all(self, context: Context) -> AsyncIterator[Any]:
        with contextlib.suppress(NoMessageError):
            while True:
                yield await self.one(context)


async def _write_all(responses: Any, context: Context) -> None:
    """Run a streaming behaviour of either of gRPC's styles: one that yields, or one that writes."""
    if hasattr(responses, "__aiter__"):
        async for response in responses:
            await context.write(response)
    else:
        await responses


class _Call:
    """Watches the calls of one method."""

    def __init__(self, metrics: Metrics, labels: tuple[str, str, str]) -> None:
        self._handled, self._labels = metrics.handled, labels
        self._handling = metrics.handling.labels(*labels)

    async def watch(self, work: Awaitable[Any], context: Context) -> Any:
        started = time.monotonic()
        code = grpc.StatusCode.UNKNOWN
        try:
            result = await work
            code = grpc.StatusCode.OK
            return result
        except ServiceError as error:
            code = status_code(error)
            log.debug("rpc refused", method=self._labels[2], code=code.name, reason=str(error))
            message, metadata = str(error), trailing_metadata(error)
        except asyncio.CancelledError:
            late = ran_out(context.time_remaining())
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = context.code() or code
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            number = uuid.uuid4().hex
            log.exception("rpc failed", method=self._labels[2], id=number)
            message, metadata = f"Something went wrong in the service; its log has more under id {number}.", ()
        finally:
            self._handled.labels(*self._labels, code.name).inc()
            self._handling.observe(time.monotonic() - started)
        # Here and not above, where the abort would refer to the error and with it to the request: gRPC keeps what it
        # raises in a cycle, which only the garbage collector would find, tens of megabytes later.
        return await context.abort(code, message, metadata)
