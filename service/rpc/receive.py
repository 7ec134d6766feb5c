"""Receives messages, and breaks calls off when partly received messages use too much memory.

gRPC does not report their size, so the process's memory is watched. The attack: forty callers that send 60 MB each.
"""

import asyncio
from typing import Any

import grpc

from service.errors import NoRoomError
from service.rpc.status import status_code, trailing_metadata
from service.system.memory import LIMIT, give_back, resident
from service.telemetry.logs import log
from service.telemetry.metrics import Metrics

Context = grpc.aio.ServicerContext[Any, Any]

# What freed messages may leave in the heap before it is given back.
_MAX_KEPT_BYTES = 256 * 2**20
_MIN_FREED_BYTES = 2**20
# Seconds between looks. A photo arrives in less.
_INTERVAL = 0.1


class Receiver:
    """Receives messages. When memory runs short, calls whose messages still arrive are broken off, the newest first.

    No queue bounds this memory: a message is seen once it is complete, and each of a thousand calls may send 64 MiB.
    """

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` count what is broken off."""
        self._metrics = metrics
        # What is held while nothing arrives.
        self._base = resident()
        self._arriving: dict[Context, None] = {}
        self._watch: asyncio.Task[None] | None = None

    async def receive(self, context: Context) -> Any:
        """The next message of a call, or `grpc.aio.EOF`.

        Raises:
            grpc.aio.AbortError: the call was broken off.
        """
        self._arriving[context] = None
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch())
        try:
            return await context.read()
        finally:
            del self._arriving[context]

    async def _keep_watch(self) -> None:
        """Look after the memory for as long as messages arrive, and until what they left is given back."""
        seen: list[Context] = []
        given_back = self._base
        while True:
            await asyncio.sleep(_INTERVAL)
            held, quiet = resident(), not self._arriving
            if held > min(LIMIT, (self._base if quiet else given_back) + _MAX_KEPT_BYTES):
                give_back()
                given_back = resident()
                if quiet and held - given_back < _MIN_FREED_BYTES:  # what is held is in use
                    break
                held = given_back
            elif quiet:
                break
            slow = [context for context in seen if context in self._arriving]
            if slow and held > LIMIT:
                await self._break_off(slow[len(slow) // 2 :])
            seen = list(self._arriving)
        self._watch = None

    async def _break_off(self, calls: list[Context]) -> None:
        error = NoRoomError("More is being sent than there is memory for: try again, or send fewer images at once.", 1)
        log.warning("messages broken off", calls=len(calls))
        self._metrics.rejected.labels("", error.reason).inc(len(calls))
        # Each abort also raises here, whether or not its caller was still there.
        aborts = (call.abort(status_code(error), str(error), trailing_metadata(error)) for call in calls)
        await asyncio.gather(*aborts, return_exceptions=True)
