"""The sockets between the service's processes."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from service.dispatch.version import SLOTS
from service.ipc import connection
from service.ipc.connection import MAX_BACKLOG_PACKETS, MAX_PACKET_BYTES, BlockingConnection, Connection
from service.ipc.messages import AddFrontend, Cancel, Done, Dropped, Message, Refused, encode


class Heard:
    """A connection on the event loop, and what came of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.messages: list[Message] = []
        self.descriptors: list[int] = []
        self.ended = asyncio.Event()
        self.connection = Connection(sock, self.take, self.ended.set)

    def take(self, message: Message, fd: int | None) -> None:
        self.messages.append(message)
        if fd is not None:
            self.descriptors.append(fd)

    async def end(self) -> None:
        async with asyncio.timeout(30):
            await self.ended.wait()


def test_last_words_are_heard() -> None:
    """What a process said before it ended is heard, once, though it ended without reading what it was sent."""

    async def talk() -> list[Message]:
        mine, theirs = connection.pair()
        heard, other = Heard(mine), BlockingConnection(theirs)
        heard.connection.send(Cancel(1))
        other.send(Refused("broken"))
        other.send(Cancel(2))
        other.close()
        heard.connection.send(Cancel(3))
        await heard.end()
        assert not heard.connection.is_open
        return heard.messages

    assert asyncio.run(talk()) == [Refused("broken"), Cancel(2)]


def test_slow_reader_finds_everything_later() -> None:
    """A socket that is full is no hang-up: what does not fit in waits, in order, with its descriptors."""

    async def talk() -> list[Message]:
        mine, theirs = connection.pair()
        sender, reader = Heard(mine), BlockingConnection(theirs)
        for number in range(MAX_BACKLOG_PACKETS):
            sender.connection.send(Cancel(number))
        read_end, write_end = os.pipe()
        sender.connection.send(AddFrontend(), write_end)
        os.close(write_end)
        received = []

        def read() -> None:
            for message, fd in reader:
                received.append(message)
                if fd is not None:
                    os.write(fd, b"x")
                    os.close(fd)
                    return

        await asyncio.to_thread(read)
        assert os.read(read_end, 2) == b"x"
        os.close(read_end)
        sender.connection.close()
        reader.close()
        return received

    assert asyncio.run(talk()) == [*(Cancel(number) for number in range(MAX_BACKLOG_PACKETS)), AddFrontend()]


def test_reader_that_never_reads_is_hung_up_on() -> None:
    """The backlog has a bound."""

    async def talk() -> None:
        mine, theirs = connection.pair()
        sender = Heard(mine)
        for number in range(3 * MAX_BACKLOG_PACKETS):
            sender.connection.send(Cancel(number))
        await sender.end()
        theirs.close()

    asyncio.run(talk())


def test_no_lane_waits_for_a_frontend_that_does_not_read() -> None:
    """A worker can answer every slot that a frontend has, although nothing is read meanwhile."""
    mine, theirs = connection.pair()
    theirs.setblocking(False)
    with mine, theirs:
        for number in range(SLOTS):
            theirs.send(encode(Done(number, 8, 1.0, 2.0, True, False, False)))
            mine.send(encode(Cancel(number)))


@pytest.mark.parametrize("size", [MAX_PACKET_BYTES + 1, 150_000])
def test_cut_packet_ends_the_connection(size: int) -> None:
    """A packet that the kernel cuts is not taken for a whole one."""

    async def talk() -> list[Message]:
        mine, theirs = connection.pair()
        heard = Heard(mine)
        theirs.send(encode(Refused("x" * size)))
        await heard.end()
        theirs.close()
        return heard.messages

    assert asyncio.run(talk()) == []


def test_descriptor_without_room_ends_the_connection() -> None:
    """A message that brings more descriptors than there is room for is not taken, and none is left open."""

    async def talk() -> list[Message]:
        mine, theirs = connection.pair()
        heard = Heard(mine)
        socket.send_fds(theirs, [encode(AddFrontend())], [0, 1, 2])
        await heard.end()
        theirs.close()
        return heard.messages

    before = len(list(Path("/proc/self/fd").iterdir()))
    assert asyncio.run(talk()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_message_over_the_bound_is_refused_where_it_is_sent() -> None:
    """Nothing is put on a socket that its reader would have to cut."""
    mine, theirs = connection.pair()
    with mine, theirs, pytest.raises(ValueError, match="larger than a packet"):
        connection.send(mine, Refused("x" * MAX_PACKET_BYTES))


def test_several_threads_send_whole_packets() -> None:
    """Answers of several lanes arrive whole, each lane's in its order."""
    mine, theirs = connection.pair()
    sender, reader = BlockingConnection(mine), BlockingConnection(theirs)
    lanes = [
        threading.Thread(target=lambda lane=lane: [sender.send(Dropped(lane * 1000 + n)) for n in range(200)])
        for lane in range(4)
    ]
    for lane in lanes:
        lane.start()
    received = [next(iter(reader))[0].job for _ in range(800)]
    for lane in lanes:
        lane.join()
    sender.close()
    reader.close()

    assert all(
        [job for job in received if job // 1000 == lane] == sorted(range(lane * 1000, lane * 1000 + 200))
        for lane in range(4)
    )
