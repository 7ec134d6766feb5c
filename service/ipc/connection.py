"""Both ends of the sockets between the service's processes. Nothing else sends or receives on them.

A SOCK_SEQPACKET socket keeps packets whole and tells when the other side has gone. The kernel cuts a packet that is
larger than the reader's buffer without an error, and closes descriptors that it has no room for, so both are checked.
"""

import array
import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator

from service.ipc.messages import Message, decode, encode

MAX_PACKET_BYTES = 2**16
# The kernel doubles it for its bookkeeping, of about 800 bytes a packet: all answers that a frontend can wait for, one
# for each of its slots, fit in while it does not read.
_SOCKET_BUFFER_BYTES = 212_992
# Packets kept for a reader that is slow. One that leaves more unread is not coming back.
MAX_BACKLOG_PACKETS = 4096

_ONE_FD = socket.CMSG_SPACE(array.array("i").itemsize)

OnMessage = Callable[[Message, int | None], None]


class TruncatedError(OSError):
    """A packet arrived incomplete."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected ends, both blocking."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    return ends


def _packet(message: Message) -> bytes:
    packet = encode(message)
    if len(packet) > MAX_PACKET_BYTES:
        raise ValueError(f"a {type(message).__name__} of {len(packet)} bytes is larger than a packet")
    return packet


def _send(sock: socket.socket, packet: bytes, fd: int | None) -> None:
    if fd is None:
        sock.send(packet)
    else:
        socket.send_fds(sock, [packet], [fd])


def _receive(sock: socket.socket) -> tuple[Message, int | None] | None:
    """Read the next message and its descriptor; None once the other side has hung up and everything is read.

    Raises:
        TruncatedError: the packet was larger than it may be, or its descriptor did not get through.
        OSError: whatever the socket raises.
    """
    packet, ancillary, flags, _ = sock.recvmsg(MAX_PACKET_BYTES, _ONE_FD)
    fds = array.array("i", b"".join(data for _, _, data in ancillary))
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise TruncatedError("a packet between two processes of the service was cut")
    return (decode(packet), fds[0] if fds else None) if packet else None


def send(sock: socket.socket, message: Message) -> None:
    """Send a message on a socket that no connection has taken over yet.

    Raises:
        OSError: whatever the socket raises.
    """
    _send(sock, _packet(message), None)


def receive_first(sock: socket.socket) -> Message | None:
    """Wait for the first message on a socket that no connection has taken over yet; None where there is none."""
    message, fd = _receive(sock) or (None, None)
    _close(fd)
    return message


class BlockingConnection:
    """An end for threads, as the worker has it. `send` may be called by several threads."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over the socket."""
        sock.setblocking(True)
        self._sock = sock

    def send(self, message: Message, fd: int | None = None) -> None:
        """Send one message; a receiver that has gone misses nothing."""
        with contextlib.suppress(OSError):
            _send(self._sock, _packet(message), fd)

    def __iter__(self) -> Iterator[tuple[Message, int | None]]:
        """Wait for messages, each with its descriptor, until the other side hangs up."""
        while True:
            try:
                received = _receive(self._sock)
            except OSError:  # it hung up with something unread, or cannot be understood
                return
            if received is None:
                return
            yield received

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


class Connection:
    """An end on the event loop, as the supervisor and the frontends have it."""

    def __init__(self, sock: socket.socket, on_message: OnMessage, on_close: Callable[[], None]) -> None:
        """Take over the socket and listen.

        Args:
            sock: connected.
            on_message: called with each message and the descriptor that came with it, then its own to close.
            on_close: called once when the other side has hung up; not when `close` was called first.
        """
        sock.setblocking(False)
        self._sock, self._on_message, self._on_close = sock, on_message, on_close
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[tuple[bytes, int | None]] = deque()
        self._loop.add_reader(self._sock, self._read)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._sock.fileno() >= 0

    def send(self, message: Message, fd: int | None = None) -> None:
        """Send one message, with a descriptor, which stays the caller's to close.

        To a receiver that has just ended it is lost, and `on_close` follows. A receiver that is slow finds it later.
        """
        packet = _packet(message)
        if not self.is_open:
            return
        if self._backlog:
            self._keep(packet, fd)
            return
        try:
            _send(self._sock, packet, fd)
        except BlockingIOError:
            self._keep(packet, fd)
            self._loop.add_writer(self._sock, self._flush)
        except (BrokenPipeError, ConnectionResetError):
            pass  # its last messages are still to be read, and then its end
        except OSError:
            self._loop.call_soon(self._hang_up)

    def finish(self) -> None:
        """Read what has arrived, then hang up; `on_close` is not called."""
        self._on_close = lambda: None
        self._read()
        self.close()

    def close(self) -> None:
        """Hang up."""
        if not self.is_open:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        while self._backlog:
            _close(self._backlog.popleft()[1])

    def _keep(self, packet: bytes, fd: int | None) -> None:
        if len(self._backlog) >= MAX_BACKLOG_PACKETS:
            self._loop.call_soon(self._hang_up)
            return
        self._backlog.append((packet, None if fd is None else os.dup(fd)))

    def _flush(self) -> None:
        while self._backlog:
            packet, fd = self._backlog[0]
            try:
                _send(self._sock, packet, fd)
            except BlockingIOError:
                return
            except OSError:
                pass  # the reader sees the end
            self._backlog.popleft()
            _close(fd)
        self._loop.remove_writer(self._sock)

    def _hang_up(self) -> None:
        if self.is_open:
            self.close()
            self._on_close()

    def _read(self) -> None:
        while self.is_open:
            try:
                received = _receive(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it ended without reading everything; its last messages are behind this
            except (OSError, ValueError):
                received = None
            if received is None:
                self._hang_up()
                return
            self._on_message(*received)


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
