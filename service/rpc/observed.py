"""Around every RPC of every service on the port: its status code, its metrics, its log line."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog

from service.errors import ServiceError
from service.metrics import Metrics
from service.rpc.errors import trailing_metadata

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
Labels = tuple[str, str, str]  # grpc_type, grpc_service, grpc_method


class Observed(grpc.aio.ServerInterceptor):
    """Turns exceptions into codes, and counts how every RPC ended."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` gets the grpc_server series."""
        self._metrics = metrics

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler, whatever its kind."""
        handler = await continuation(details)
        if handler is None:
            return None
        kind = ("client_stream" if handler.request_streaming else "unary", bool(handler.response_streaming))
        name = {("unary", False): "unary", ("unary", True): "server_stream", ("client_stream", False): "client_stream"}
        _, service, method = details.method.split("/")
        labels = (name.get(kind, "bidi_stream"), service, method)
        if handler.response_streaming:
            return self._streaming(handler, labels)
        return self._unary(handler, labels)

    def _unary(self, handler: Any, labels: Labels) -> Any:
        inner = handler.stream_unary or handler.unary_unary

        async def behaviour(request: Any, context: Context) -> Any:
            async with self._watch(context, labels):
                return await inner(request, context)

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: Any, labels: Labels) -> Any:
        inner = handler.stream_stream or handler.unary_stream

        async def behaviour(request: Any, context: Context) -> Any:
            async with self._watch(context, labels):
                result = inner(request, context)
                if hasattr(result, "__aiter__"):
                    async for response in result:
                        await context.write(response)
                else:
                    await result

        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _watch(self, context: Context, labels: tuple[str, str, str]) -> AsyncIterator[None]:
        started = time.monotonic()
        code = grpc.StatusCode.UNKNOWN
        try:
            yield
            code = grpc.StatusCode.OK
        except ServiceError as error:
            code = error.code
            log.debug("rpc refused", method=labels[2], code=code.name, reason=str(error))
            await context.abort(code, str(error), trailing_metadata(error))
        except asyncio.CancelledError:
            remaining = context.time_remaining()
            late = remaining is not None and remaining <= 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = context.code() or code
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            number = uuid.uuid4().hex
            log.exception("rpc failed", method=labels[2], id=number)
            await context.abort(code, f"Something went wrong in the service; its log has more under id {number}.")
        finally:
            self._metrics.handled.labels(*labels, code.name).inc()
            self._metrics.handling.labels(*labels).observe(time.monotonic() - started)
