"""What a frontend and a worker say to each other: small packets on a Unix socket, never pixels.

A SOCK_SEQPACKET socket keeps packets whole and tells when the other side has gone. All times are CLOCK_MONOTONIC,
which every process of a machine shares.
"""

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, ClassVar

MAX_PACKET = 65536


@dataclass(frozen=True, slots=True)
class Run:
    """Frontend to worker: classify the image in `slot`, which must be answered by `deadline`, lowest `key` first."""

    code: ClassVar[bytes] = b"R"
    layout: ClassVar[struct.Struct] = struct.Struct("<QIdd??")
    job: int
    slot: int
    key: float
    deadline: float
    solo: bool  # nothing else is decoding or waiting: the whole device may serve this one
    suspect: bool  # a worker died on it: it goes first, and nothing else runs meanwhile


@dataclass(frozen=True, slots=True)
class Cancel:
    """Frontend to worker: nobody wants this job any more."""

    code: ClassVar[bytes] = b"C"
    layout: ClassVar[struct.Struct] = struct.Struct("<Q")
    job: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Frontend to worker: are you alive?"""

    code: ClassVar[bytes] = b"P"
    layout: ClassVar[struct.Struct] = struct.Struct("<")


@dataclass(frozen=True, slots=True)
class Pong:
    """Worker to frontend: yes, and its longest run has been going on for so many seconds; 0 when none is."""

    code: ClassVar[bytes] = b"O"
    layout: ClassVar[struct.Struct] = struct.Struct("<d")
    longest: float


@dataclass(frozen=True, slots=True)
class Done:
    """Worker to frontend: the logits are in the slot."""

    code: ClassVar[bytes] = b"D"
    layout: ClassVar[struct.Struct] = struct.Struct("<QIdd???")
    job: int
    batch: int
    started: float
    ended: float
    first: bool  # of its batch: who counts runs counts these
    solo: bool  # it ran on the session that has all threads
    new_shape: bool  # the device had not run this size of batch before


@dataclass(frozen=True, slots=True)
class Dropped:
    """Worker to frontend: cancelled, or too late to start."""

    code: ClassVar[bytes] = b"X"
    layout: ClassVar[struct.Struct] = struct.Struct("<Q")
    job: int


@dataclass(frozen=True, slots=True)
class Text:
    """A rare message of any content, as JSON: the frontend's order, the worker's state, a run that failed."""

    code: ClassVar[bytes] = b"T"
    content: dict[str, Any]


Message = Run | Cancel | Ping | Pong | Done | Dropped | Text

_BY_CODE: dict[int, type[Run | Cancel | Ping | Pong | Done | Dropped]] = {
    kind.code[0]: kind for kind in (Run, Cancel, Ping, Pong, Done, Dropped)
}


def encode(message: Message) -> bytes:
    """A message as one packet."""
    if isinstance(message, Text):
        return message.code + json.dumps(message.content).encode()
    return message.code + message.layout.pack(*(getattr(message, name) for name in message.__slots__))


def decode(packet: bytes) -> Message:
    """The message in one packet.

    Raises:
        ValueError: the packet is none of ours.
    """
    if packet[:1] == Text.code:
        return Text(json.loads(packet[1:]))
    kind = _BY_CODE.get(packet[0])
    if kind is None or len(packet) != 1 + kind.layout.size:
        raise ValueError(f"not a packet of this protocol: {packet[:16]!r}")
    return kind(*kind.layout.unpack_from(packet, 1))


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends: the frontend's, which never blocks, and the worker's, which does."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.setblocking(False)
    return mine, theirs
