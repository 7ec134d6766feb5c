"""`python -m service.worker CHANNEL`: an inherited descriptor, through which everything else comes."""

import contextlib
import os
import socket
import sys
import threading
from dataclasses import asdict

from service.system.child import die_with_parent

die_with_parent()  # also while the rest is imported

from resserve.errors import ResServeError  # noqa: E402
from service.ipc import messages  # noqa: E402
from service.ipc.slots import Slots  # noqa: E402
from service.latency import RunTimeModel  # noqa: E402
from service.system.memory import give_back, keep_heap  # noqa: E402
from service.worker.loading import Loaded, Order, load  # noqa: E402
from service.worker.scheduler import BatchScheduler, Frontend  # noqa: E402


def main() -> None:
    """Load what the frontend orders, say so, and answer until the frontend hangs up."""
    keep_heap()
    channel = socket.socket(fileno=int(sys.argv[1]))
    packet = channel.recv(messages.MAX_PACKET)
    if not packet:
        return
    first = messages.decode(packet)
    assert isinstance(first, messages.Text)
    try:
        loaded = load(Order(**first.content["order"]))
    except ResServeError as error:
        _tell(channel, {"refused": str(error)})
        return
    times = RunTimeModel(dict(loaded.measured.runs), loaded.measured.solo)
    lanes = BatchScheduler(loaded.engine, times, answered=lambda: _tell(channel, {"answered": True}))
    give_back()
    _tell(channel, {"ready": _state(loaded)})
    _listen(channel, lanes)
    os._exit(0)  # lanes may be in the middle of runs that nobody waits for


def _tell(channel: socket.socket, content: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        channel.send(messages.encode(messages.Text(content)))


def _state(loaded: Loaded) -> dict[str, object]:
    engine = loaded.engine
    return {
        "device": engine.device,
        "provider": engine.provider,
        "plan": asdict(engine.plan),
        "credits": engine.plan.credits,
        "measured": asdict(loaded.measured),
    }


def _listen(channel: socket.socket, lanes: BatchScheduler) -> None:
    """Take a frontend's messages until it hangs up. The first has its slots."""
    frontend = None
    while True:
        try:
            packet, fds, _, _ = socket.recv_fds(channel, messages.MAX_PACKET, 1)
        except ConnectionResetError:  # hung up with something unread
            break
        if not packet:
            break
        match messages.decode(packet):
            case messages.Run() as run:
                assert frontend
                lanes.add(run, frontend)
            case messages.Cancel(job):
                assert frontend
                lanes.cancel(job, frontend)
            case messages.Ping():
                channel.send(messages.encode(messages.Pong(lanes.longest)))
            case messages.Text(content={"slots": dict(shape)}):
                frontend = Frontend(channel, Slots(fds[0], **shape))
            case messages.Text(content={"attach": True}):
                other = socket.socket(fileno=fds[0])
                threading.Thread(target=_listen, args=(other, lanes), daemon=True).start()
            case message:
                raise ValueError(f"a worker has no use for {message}")
    if frontend:
        lanes.forget(frontend)


main()
