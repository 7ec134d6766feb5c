"""A request's bytes to its message, without paying for what will be refused."""

from resserve.v1 import classifier_pb2 as pb
from service.dispatch.inference import MAX_IMAGES

# Field number and wire type of `images`, and more fields than any request has use for.
_IMAGES = 4 << 3 | 2
_MAX_FIELDS = 1024


def parse(data: bytes) -> pb.ClassifyRequest:
    """The message; where it has more images than are accepted, it ends with the first of these.

    An empty image takes two bytes of the message but dozens once it is parsed: 60 MB would become 1.4 GB.

    Raises:
        Exception: it is no such message, which gRPC tells the caller.
    """
    return pb.ClassifyRequest.FromString(data[: _end(data)])


def _end(data: bytes) -> int:
    """Where the first image too many ends, or the message."""
    place = images = 0
    for _ in range(_MAX_FIELDS):
        if place >= len(data):
            return len(data)
        tag, place = _varint(data, place)
        match tag & 7:
            case 0:
                _, place = _varint(data, place)
            case 1:
                place += 8
            case 2:
                length, place = _varint(data, place)
                place += length
            case 5:
                place += 4
            case _:
                raise ValueError("a request has no groups")
        images += tag == _IMAGES
        if images > MAX_IMAGES:
            return place
    raise ValueError(f"a request has no more than {_MAX_FIELDS} fields")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends (protobuf's encoding, "Base 128 Varints")."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("a number has no more than ten bytes")
