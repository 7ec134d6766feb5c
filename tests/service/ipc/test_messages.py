"""The packets and the shared memory between a frontend and a worker."""

import asyncio
import mmap
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ipc import messages
from service.ipc.connection import Channel
from service.ipc.slots import Slots

numbers = st.integers(0, 2**64 - 1)
seconds = st.floats(allow_nan=False)
anything = st.one_of(
    st.builds(messages.Run, numbers, st.integers(0, 2**32 - 1), seconds, seconds, st.booleans(), st.booleans()),
    st.builds(messages.Cancel, numbers),
    st.just(messages.Ping()),
    st.builds(messages.Pong, seconds),
    st.builds(messages.Done, numbers, st.integers(0, 2**32 - 1), seconds, seconds, st.booleans(), st.booleans()),
    st.builds(messages.Dropped, numbers),
    st.builds(messages.Text, st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.lists(st.integers())))),
)


@given(anything)
def test_what_is_encoded_is_decoded(message) -> None:
    """Every message comes back as it was."""
    assert messages.decode(messages.encode(message)) == message


@given(st.binary(min_size=1, max_size=64))
def test_foreign_packets_are_refused(packet) -> None:
    """Bytes that are no message raise ValueError; those that happen to be one encode to themselves."""
    try:
        message = messages.decode(packet)
    except ValueError:
        return
    # A boolean may arrive as any byte but zero.
    assert isinstance(message, messages.Text | messages.Run | messages.Done) or messages.encode(message) == packet


@given(st.lists(anything, max_size=20))
def test_a_socket_keeps_packets_whole(sent) -> None:
    """Messages arrive one by one, in order, and the end of the other side is seen after the last."""
    mine, theirs = messages.pair()
    with mine, theirs:
        for message in sent:
            mine.send(messages.encode(message))
        mine.shutdown(socket.SHUT_WR)
        received = []
        while packet := theirs.recv(messages.MAX_PACKET):
            received.append(messages.decode(packet))

    assert received == sent


def test_the_frontend_never_waits_for_a_worker() -> None:
    """A worker that does not read cannot block the frontend's end."""
    mine, theirs = messages.pair()
    with mine, theirs, pytest.raises(BlockingIOError):
        for number in range(100_000):
            mine.send(messages.encode(messages.Cancel(number)))


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(1, 33))
def test_slots_do_not_overlap(count, height, width, classes) -> None:
    """Each slot holds its own pixels and logits on cache lines of its own, seen alike through a second mapping."""
    slots = Slots.create(count, height, width, classes)
    other = Slots(os.dup(slots.fd), count, height, width, classes)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, slots.images.shape, np.uint8)
    logits = rng.standard_normal(slots.logits.shape, np.float32)
    for slot in range(count):
        slots.images[slot], other.logits[slot] = images[slot], logits[slot]
    starts = [
        array[slot].__array_interface__["data"][0] for slot in range(count) for array in (slots.images, slots.logits)
    ]

    assert np.array_equal(other.images, images) and np.array_equal(slots.logits, logits)
    assert all(start % 64 == starts[0] % 64 for start in starts) and len(set(starts)) == 2 * count
    os.close(slots.fd)
    os.close(other.fd)


def test_slots_have_no_name_and_cost_nothing_unused() -> None:
    """The memory is a file without a name, and pages that were never touched are not there."""
    slots = Slots.create(256, 224, 224, 1000)
    name = str(Path(f"/proc/self/fd/{slots.fd}").readlink())
    before = os.fstat(slots.fd).st_blocks
    slots.images[3] = 1

    assert name.startswith("/memfd:") and name.endswith("(deleted)")
    assert before == 0 and os.fstat(slots.fd).st_blocks * 512 < slots.images[0].nbytes + 4 * mmap.PAGESIZE
    os.close(slots.fd)


def test_last_words_are_heard() -> None:
    """What a worker said before it ended is heard, once, though it ended without reading what it was sent."""

    async def talk() -> list[object]:
        heard: list[object] = []
        ended = asyncio.Event()
        mine, theirs = messages.pair()
        channel = Channel(mine, heard.append, ended.set)
        channel.send(messages.Cancel(1))
        theirs.send(messages.encode(messages.Text({"refused": "broken"})))
        theirs.send(messages.encode(messages.Cancel(2)))
        theirs.close()
        channel.send(messages.Cancel(3))
        async with asyncio.timeout(30):
            await ended.wait()
        assert not channel.open
        return heard

    assert asyncio.run(talk()) == [messages.Text({"refused": "broken"}), messages.Cancel(2)]
