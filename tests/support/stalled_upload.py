"""A caller that sends most of a large message and then stalls, in frames of its own: gRPC's clients do not."""

import contextlib
import select
import socket
import struct
import threading
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8  # RFC 9113, section 6
_PIECE = 16384
_PAUSE = 0.002  # seconds after each: 8 MB/s, as over a network


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _header(name: bytes, value: bytes) -> bytes:
    """A field that is not indexed (RFC 7541, section 6.2.2)."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


class StalledUpload(threading.Thread):
    """One call on a connection of its own.

    Attributes:
        sent: bytes of the message so far.
        answered: the service has ended the call.
    """

    def __init__(self, address: str, method: bytes, announced: int, sent: int) -> None:
        """Call a method with a message of `announced` bytes, of which only `sent` will come."""
        super().__init__(daemon=True)
        self.sent, self.answered = 0, False
        self._target = sent
        self._windows = {0: 65535, 1: 65535}
        self._initial = 65535
        self._received = b""
        host, _, port = address.rpartition(":")
        self._connection = socket.create_connection((host, int(port)), timeout=60)
        fields = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": b"/resserve.v1.Classifier/" + method,
            b":authority": b"test",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        headers = b"".join(_header(*field) for field in fields.items())
        self._connection.sendall(_PREFACE + frame(_SETTINGS, 0, 0, b"") + frame(_HEADERS, 4, 1, headers))
        self._piece = struct.pack(">BI", 0, announced)  # gRPC's prefix of a message
        self.start()

    def run(self) -> None:
        """Send what the service takes, and then listen."""
        with contextlib.suppress(OSError):
            while not self.answered:
                stalled = self.sent >= self._target or min(self._windows.values()) < _PIECE
                if stalled or select.select([self._connection], [], [], 0)[0]:
                    self._hear()
                else:
                    self._connection.sendall(frame(_DATA, 0, 1, self._piece))
                    self.sent += len(self._piece)
                    for stream in self._windows:
                        self._windows[stream] -= len(self._piece)
                    self._piece = bytes(_PIECE)
                    time.sleep(_PAUSE)

    def close(self) -> None:
        """Vanish."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _hear(self) -> None:
        received = self._connection.recv(65536)
        if not received:
            raise ConnectionError
        self._received += received
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
            if len(self._received) < 9 + length:
                break
            payload, self._received = self._received[9 : 9 + length], self._received[9 + length :]
            self._heard(kind, flags, stream, payload)

    def _heard(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags:
            for place in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[place : place + 6])
                if name == 4:  # SETTINGS_INITIAL_WINDOW_SIZE
                    self._windows[1] += value - self._initial
                    self._initial = value
            self._connection.sendall(frame(_SETTINGS, 1, 0, b""))
        elif kind == _PING and not flags:
            self._connection.sendall(frame(_PING, 1, 0, payload))
        elif kind == _HEADERS:
            self.answered = True
