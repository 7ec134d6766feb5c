"""The picture that a request brings: its body, or the one file of a form.

Both are read as they arrive, and broken off at a limit: nothing else bounds the memory that callers may take.
"""

from collections.abc import Callable

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.errors import InvalidRequestError, NoRoomError, TooLargeError

MAX_PICTURE_BYTES = 20 * 1024 * 1024
# Boundaries and headers of a form, besides its file.
_FORM_BYTES = 16 * 1024
# Bodies up to this size are read whatever else arrives.
_SMALL_BYTES = 1024 * 1024

_HOW = "curl --data-binary @x.jpg, curl -T x.jpg or curl -F image=@x.jpg"


async def read_picture(request: Request, full: Callable[[], bool]) -> bytes:
    """Read the picture of a request.

    Args:
        request: whose body is not read yet.
        full: whether there is no memory for more that is sent.

    Raises:
        TooLargeError: as soon as it is known to pass the limit.
        NoRoomError: with all that others send, it would be too much.
        InvalidRequestError: the body is a form, and not one with one file.
        starlette.requests.ClientDisconnect: the caller has gone.
    """
    picture = bytearray()
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = _Form(options.get(b"boundary", b""), picture) if kind == b"multipart/form-data" else None
    limit = MAX_PICTURE_BYTES + (_FORM_BYTES if form else 0)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large()
        if form:
            form.write(chunk)
        else:
            picture += chunk
        if len(picture) > MAX_PICTURE_BYTES:
            raise _too_large()
        if received > _SMALL_BYTES and full():
            raise NoRoomError("More is being sent than there is memory for: try again.")
    if form:
        form.finish()
    return bytes(picture)


def advice(picture: bytes, content_type: str) -> str:
    """A sentence to add where what was sent is no picture: how it is sent over HTTP; empty where it looked like one."""
    start = picture[:256].strip()
    if start.isascii() and start.decode().replace("\n", " ").replace("\r", " ").isprintable():
        return f"Over HTTP a picture is sent as it is, without base64 or JSON: {_HOW}."
    # No picture is without one of these, and curl -d leaves them out.
    if content_type == "application/x-www-form-urlencoded" and not any(byte in picture for byte in b"\0\r\n"):
        return f"With -d curl leaves bytes of a file out: use {_HOW}."
    return ""


def _too_large() -> TooLargeError:
    return TooLargeError(f"The image is larger than {MAX_PICTURE_BYTES // 2**20} MiB, the most that is read.")


class _Form:
    """A multipart form (RFC 7578), whose one part is written into `picture` as it arrives."""

    def __init__(self, boundary: bytes, picture: bytearray) -> None:
        self._picture = picture
        self._parts, self._is_whole = 0, False
        if not boundary:
            raise _unreadable()
        try:
            self._parser = MultipartParser(
                boundary, {"on_part_begin": self._begin, "on_part_data": self._take, "on_end": self._end}
            )
        except FormParserError:
            raise _unreadable() from None

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _unreadable() from None

    def finish(self) -> None:
        if not (self._is_whole and self._parts):
            raise _unreadable()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise InvalidRequestError(
                "The form has more than one part: send one picture, as curl -F image=@x.jpg does, and name the model "
                "in the address, as in /api/classify?model=NAME."
            )

    def _take(self, data: bytes, start: int, end: int) -> None:
        self._picture += data[start:end]

    def _end(self) -> None:
        self._is_whole = True


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError(f"The form cannot be read: send the picture as one of these does: {_HOW}.")
