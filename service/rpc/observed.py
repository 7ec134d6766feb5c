"""Around every RPC of every service on the port: its status code, its metrics, its log line."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from service.errors import ServiceError
from service.logs import log
from service.metrics import Metrics
from service.rpc.errors import ran_out, trailing_metadata

Context = grpc.aio.ServicerContext[Any, Any]

_TYPES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


class Observed(grpc.aio.ServerInterceptor):
    """Turns exceptions into codes, and counts how every RPC ended."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` gets the grpc_server series."""
        self._metrics = metrics
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
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[streams]

        async def observed(request: Any, context: Context) -> Any:
            return await call.watch(behaviour(request, context), context)

        async def observed_stream(request: Any, context: Context) -> None:
            await call.watch(_write_all(behaviour(request, context), context), context)

        chosen = observed_stream if handler.response_streaming else observed
        return make(chosen, handler.request_deserializer, handler.response_serializer)


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
            code = error.code
            log.debug("rpc refused", method=self._labels[2], code=code.name, reason=str(error))
            await context.abort(code, str(error), trailing_metadata(error))
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
            await context.abort(code, f"Something went wrong in the service; its log has more under id {number}.")
        finally:
            self._handled.labels(*self._labels, code.name).inc()
            self._handling.observe(time.monotonic() - started)
