"""`python -m service.worker CHANNEL SLOTS`: two inherited descriptors; everything else comes through the channel."""

import ctypes
import os
import signal
import socket
import sys
from dataclasses import asdict

from resserve.errors import ResServeError
from service import link
from service.memory import give_back, keep_heap
from service.slots import Slots
from service.worker.lanes import Lanes
from service.worker.loading import Loaded, Order, load


def main() -> None:
    """Load what the frontend orders, say so, and answer until the frontend hangs up."""
    _end_with_parent()
    keep_heap()
    channel = socket.socket(fileno=int(sys.argv[1]))
    order = link.decode(channel.recv(link.MAX_PACKET))
    assert isinstance(order, link.Text)
    slots = order.content.pop("slots")
    try:
        loaded = load(Order(**order.content))
    except ResServeError as error:
        channel.send(link.encode(link.Text({"refused": str(error)})))
        return
    lanes = Lanes(loaded.engine, Slots(int(sys.argv[2]), **slots), channel)
    give_back()
    channel.send(link.encode(link.Text({"ready": _state(loaded)})))
    _listen(channel, lanes)


def _end_with_parent() -> None:
    """Signals to the group are the frontend's to handle; its death is ours too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _state(loaded: Loaded) -> dict[str, object]:
    engine = loaded.engine
    return {
        "device": engine.device,
        "provider": engine.provider,
        "plan": asdict(engine.plan),
        "credits": engine.plan.credits,
        "measured": asdict(loaded.measured),
    }


def _listen(channel: socket.socket, lanes: Lanes) -> None:
    while packet := channel.recv(link.MAX_PACKET):
        message = link.decode(packet)
        match message:
            case link.Run():
                lanes.add(message)
            case link.Cancel():
                lanes.cancel(message.job)
            case link.Ping():
                channel.send(packet)
            case _:
                raise ValueError(f"a worker has no use for {message}")
    os._exit(0)  # lanes may be in the middle of runs that nobody waits for


main()
