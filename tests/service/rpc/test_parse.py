"""Requests as bytes: what protobuf makes of them, unless there are more images than are accepted."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from resserve.v1 import classifier_pb2 as pb
from service.rpc.parse import MAX_IMAGES, parse

requests = st.builds(
    pb.ClassifyRequest,
    id=st.text(),
    model=st.text(),
    version=st.integers(-(2**63), 2**63 - 1),
    images=st.lists(st.binary(), max_size=20),
    top_k=st.integers(0, 2**32 - 1),
    logits=st.booleans(),
    priority=st.integers(0, 2**31 - 1),
)


@given(requests)
def test_a_request_is_what_protobuf_makes_of_it(request) -> None:
    """Whatever is in it."""
    assert parse(request.SerializeToString()) == request


@given(st.binary(max_size=200))
def test_any_bytes(data) -> None:
    """What is no message is none for protobuf either, but for what nobody sends; nothing else is let through."""
    try:
        message = parse(data)
    except ValueError as error:  # a group, or a number of too many bytes
        assert "a request" in str(error) or "a number" in str(error)
    except (IndexError, DecodeError):
        with pytest.raises(DecodeError):
            pb.ClassifyRequest.FromString(data)
    else:
        assert message == pb.ClassifyRequest.FromString(data)


@given(requests, st.integers(MAX_IMAGES + 1, 5000), st.integers(0, 3))
def test_no_more_images_are_taken_than_show_that_there_are_too_many(request, count, size) -> None:
    """The rest of the message is not read, but what comes before the images is."""
    del request.images[:]
    request.images.extend([bytes(size)] * count)
    message = parse(request.SerializeToString())

    assert len(message.images) == MAX_IMAGES + 1
    assert (message.id, message.model, message.version) == (request.id, request.model, request.version)


def test_fields_of_every_kind_are_stepped_over() -> None:
    """Those that are not known, before and between the images, as a newer client may send them."""
    unknown = b"\xa0\x06\x96\x01" + b"\xa5\x06\x22\0\x22\0" + b"\xa1\x06" + b"\x22\0" * 4 + b"\xa2\x06\x04\x22\0\x22\0"

    assert len(parse((unknown + b"\x22\0") * 200).images) == 200
    assert len(parse(unknown + b"\x22\0" * 300).images) == MAX_IMAGES + 1


@pytest.mark.parametrize(
    "data",
    [b"\x28\x01" * 10**6, b"\xff" * 10**7, b"\x22" + b"\xff" * 10**7, b"\x22\xff\xff\xff\xff\x0f", b"\x2b\x2c"],
    ids=["fields", "tag", "length", "beyond", "group"],
)
def test_what_would_take_long_is_refused(data: bytes) -> None:
    """Bytes that keep a parser busy, and lengths beyond the end."""
    with pytest.raises((ValueError, IndexError, DecodeError)):
        parse(data)
