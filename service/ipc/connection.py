"""A frontend's end of a worker's socket, on the event loop."""

import asyncio
import socket
from collections.abc import Callable

from service.ipc import messages


class Channel:
    """Sends packets and hears those of the worker, until either side hangs up."""

    def __init__(
        self, end: socket.socket, heard: Callable[[messages.Message], None], closed: Callable[[], None]
    ) -> None:
        """Listen from now on.

        Args:
            end: non-blocking; the channel closes it.
            heard: called with each message.
            closed: called once when the worker has hung up; not when `close` was called first.
        """
        self._end, self._heard, self._closed = end, heard, closed
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._listen)

    @property
    def open(self) -> bool:
        """Whether packets can be sent."""
        return self._end.fileno() >= 0

    def send(self, message: messages.Message, fds: tuple[int, ...] = ()) -> None:
        """Send one packet, with descriptors; to a worker that has just died it is lost, and `closed` follows."""
        try:
            if fds:
                socket.send_fds(self._end, [messages.encode(message)], fds)
            else:
                self._end.send(messages.encode(message))
        except (BrokenPipeError, ConnectionResetError):
            pass  # what it said last is still to be heard, and then its end
        except OSError:
            self._loop.call_soon(self._hang_up)

    def close(self) -> None:
        """Hang up."""
        if self.open:
            self._loop.remove_reader(self._end)
            self._end.close()

    def _hang_up(self) -> None:
        if self.open:
            self.close()
            self._closed()

    def _listen(self) -> None:
        while self.open:
            try:
                packet = self._end.recv(messages.MAX_PACKET)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it ended without reading everything; its last words are behind this
            except OSError:
                packet = b""
            if not packet:
                self._hang_up()
                return
            self._heard(messages.decode(packet))
