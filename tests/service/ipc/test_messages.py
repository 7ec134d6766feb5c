"""The messages between the service's processes: each comes back as it was, and nothing else is taken for one."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ipc import messages
from service.ipc.connection import MAX_PACKET_BYTES
from service.ipc.messages import Message, decode, encode, shorten

SERVICE = Path(messages.__file__).parents[1]
# What the wire format holds; more than any field has use for.
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False))
anything = st.one_of(*(st.from_type(kind) for kind in get_args(Message)))


@given(anything)
def test_encoded_message_is_decoded(message: Message) -> None:
    """Every message comes back as it was."""
    assert decode(encode(message)) == message


@given(st.binary(min_size=1, max_size=64))
def test_foreign_packet_is_refused(packet: bytes) -> None:
    """Bytes that are no message raise ValueError; nothing else is raised."""
    try:
        message = decode(packet)
    except ValueError:
        return
    assert isinstance(message, get_args(Message))


@pytest.mark.parametrize("kind", get_args(Message), ids=lambda kind: kind.__name__)
def test_every_field_has_a_type(kind: type) -> None:
    """No field holds anything at all: what a message may carry is known, and checked when it arrives."""
    fields = msgspec.structs.fields(kind)

    assert not [field.name for field in fields if "Any" in str(field.type) or field.type in (object, dict, list)]


def test_long_sentences_fit_into_a_packet() -> None:
    """What a runtime says is cut to what a message holds."""
    packet = encode(messages.Failed(1, shorten("ü" * 100_000)))

    assert len(packet) < MAX_PACKET_BYTES and decode(packet).error.endswith("…")


def test_only_connections_send_and_receive() -> None:
    """No other file of the service touches a socket's packets."""
    call = re.compile(r"\.(send|recv|sendmsg|recvmsg|send_fds|recv_fds|sendall|recv_into)\(")
    by_file = {path.relative_to(SERVICE).as_posix(): call.findall(path.read_text()) for path in SERVICE.rglob("*.py")}
    outside = {name for name, calls in by_file.items() if set(calls) - {"send"}} - {"ipc/connection.py"}

    assert outside == set() and by_file["ipc/connection.py"]
