"""A relay between an HTTP/2 client and a server that counts the frames that pass."""

import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.support.service_process import wait_until

PING, GOAWAY = 6, 7
_PREFACE = 24  # bytes that the client sends before its first frame, RFC 9113, section 3.4
_HEADER = 9
_ACK = 1


class Relay:
    """One connection to `target`, by way of `address`.

    `sent` and `received` count the client's and the server's frames by type, without answers to pings.
    """

    def __init__(self, target: str) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent, self.received = Counter[int](), Counter[int]()
        self._target = target
        self._sockets: list[socket.socket] = [self._listening]
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was never connected
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def wait_for_pings(self, count: int) -> None:
        """Wait until the client has sent so many."""
        wait_until(lambda: self.sent[PING] >= count or self.received[GOAWAY], f"{count} pings", 300)

    def _run(self) -> None:
        try:
            client, _ = self._listening.accept()
        except OSError:
            return  # nobody came
        host, _, port = self._target.rpartition(":")
        server = socket.create_connection((host.strip("[]"), int(port)))
        self._sockets += [client, server]
        for source, sink, counts, skip in (
            (client, server, self.sent, _PREFACE),
            (server, client, self.received, 0),
        ):
            self._threads.append(threading.Thread(target=_pass_on, args=(source, sink, counts, skip)))
            self._threads[-1].start()


def _pass_on(source: socket.socket, sink: socket.socket, counts: Counter[int], skip: int) -> None:
    waiting = bytearray()
    try:
        while data := source.recv(65536):
            sink.sendall(data)
            waiting += data
            while len(waiting) >= skip + _HEADER:
                del waiting[:skip]
                length, kind, flags = int.from_bytes(waiting[:3], "big"), waiting[3], waiting[4]
                if kind != PING or not flags & _ACK:
                    counts[kind] += 1
                skip = _HEADER + length
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other direction has ended
