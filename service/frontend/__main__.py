"""`python -m service.frontend FD`: one more frontend. FD is its control connection to the supervisor."""

import asyncio
import os
import socket
import sys

from setproctitle import setproctitle

from service.frontend.frontend import Frontend
from service.ipc.connection import receive_first
from service.ipc.messages import Configure
from service.system.child import die_with_parent
from service.system.memory import keep_heap
from service.telemetry import logs


def main() -> None:
    """Answer until the supervisor says drain, or hangs up."""
    die_with_parent()
    keep_heap()
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = receive_first(control)
    if not isinstance(settings, Configure):
        return
    setproctitle(f"resserve frontend {settings.number}")
    logs.configure(settings.log_level, settings.log_format, f"frontend {settings.number}")
    asyncio.run(_run(settings, control))


async def _run(settings: Configure, control: socket.socket) -> None:
    # Nothing is left to answer for once the supervisor has ended, and the workers with it.
    await Frontend(settings, control, on_hang_up=lambda: os._exit(1)).run()


if __name__ == "__main__":
    main()
