"""`python -m service.worker FD`: the process of one model version. FD is its control connection to the supervisor."""

import os
import socket
import sys
import threading

from service.system.child import die_with_parent

die_with_parent()  # also while the rest is imported

from setproctitle import setproctitle  # noqa: E402

from resserve.errors import ResServeError  # noqa: E402
from service.ipc.connection import BlockingConnection  # noqa: E402
from service.ipc.messages import (  # noqa: E402
    AddFrontend,
    Cancel,
    FirstAnswer,
    Load,
    Loaded,
    Ping,
    Pong,
    Refused,
    Run,
    UseSlots,
    shorten,
)
from service.ipc.slots import Slots  # noqa: E402
from service.latency import RunTimeModel  # noqa: E402
from service.system.memory import give_back, keep_heap  # noqa: E402
from service.worker.loading import LoadedEngine, load  # noqa: E402
from service.worker.scheduler import BatchScheduler, Client  # noqa: E402


def main() -> None:
    """Load the version that the supervisor names, say so, and answer frontends until the supervisor hangs up."""
    keep_heap()
    control = BlockingConnection(socket.socket(fileno=int(sys.argv[1])))
    messages = iter(control)
    if (first := next(messages, None)) is None:
        return
    request, _ = first
    if not isinstance(request, Load):
        raise ValueError(f"the supervisor's first message was {request}")
    setproctitle(f"resserve worker {request.key}")
    try:
        loaded = load(request)
    except ResServeError as error:
        control.send(Refused(shorten(str(error))))
        return
    times = RunTimeModel(dict(loaded.measured.runs), loaded.measured.solo)
    scheduler = BatchScheduler(loaded.engine, times, lambda: control.send(FirstAnswer()))
    give_back()
    control.send(_describe(loaded))
    for message, fd in messages:
        match message:
            case AddFrontend() if fd is not None:
                connection = BlockingConnection(socket.socket(fileno=fd))
                threading.Thread(target=_serve_frontend, args=(connection, scheduler), daemon=True).start()
            case Ping():
                control.send(Pong(scheduler.is_stalled))
    os._exit(0)  # lanes may be in the middle of runs that nobody waits for


def _describe(loaded: LoadedEngine) -> Loaded:
    engine, plan = loaded.engine, loaded.engine.plan
    return Loaded(
        device=engine.device,
        provider=engine.provider,
        lanes=plan.lanes,
        max_batch=plan.max_batch,
        solo_threads=plan.solo_threads,
        fixed_sizes=plan.fixed,
        credits=plan.credits,
        run_seconds=loaded.measured.runs,
        solo_seconds=loaded.measured.solo,
    )


def _serve_frontend(connection: BlockingConnection, scheduler: BatchScheduler) -> None:
    """Take a frontend's messages until it hangs up."""
    messages = iter(connection)
    first = next(messages, None)
    if first is None:
        return
    shape, fd = first
    if not isinstance(shape, UseSlots) or fd is None:
        raise ValueError(f"a frontend's first message was {shape}")
    client = Client(connection, Slots(fd, shape))
    for message, _ in messages:
        match message:
            case Run():
                scheduler.add(message, client)
            case Cancel(job):
                scheduler.cancel(job, client)
    scheduler.forget(client)
    connection.close()
    client.slots.close()


if __name__ == "__main__":
    main()
