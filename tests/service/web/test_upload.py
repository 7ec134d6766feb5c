"""Every form in which a picture comes to the HTTP port, and what is no picture."""

import http.client
import json
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.upload import MAX_PICTURE_BYTES
from tests.support.http_port import Port

MIB = 2**20
URL = "/api/classify?model=a"
BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(picture: bytes, name: str = "image") -> bytes:
    """A file of a form, as curl writes it."""
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x.jpg"\r\n'
    return start.encode() + b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n"


def form(*pictures: bytes) -> bytes:
    return b"".join(map(part, pictures)) + f"--{BOUNDARY}--\r\n".encode()


def head(length: int) -> bytes:
    """Of a request with a form of so many bytes."""
    lines = [f"POST {URL} HTTP/1.1", "Host: x", f"Content-Type: {FORM['Content-Type']}", f"Content-Length: {length}"]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def error(body: bytes) -> tuple[str, str]:
    """Code and sentence."""
    (found,) = json.loads(body).values()
    return found["code"], found["message"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_picture_is_the_body_or_the_file_of_a_form(port: Port, method: str) -> None:
    """POST and PUT take both, byte for byte."""
    picture = random.Random(0).randbytes(3 * MIB)

    assert port.call(method, URL, picture)[0] == 200
    assert port.call(method, URL, form(picture), **FORM)[0] == 200
    assert port.pictures == [picture, picture]


@pytest.fixture(scope="module")
def shared() -> Port:
    running = Port()
    yield running
    running.close()


@given(
    pieces=st.lists(
        st.sampled_from([b"\r", b"\n", b"-", f"\r\n--{BOUNDARY[:-1]}".encode(), BOUNDARY.encode(), b"\0", b"\xff"]),
        max_size=12,
    ),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_a_form_is_read_however_it_arrives(shared: Port, pieces: list[bytes], cuts: list[int]) -> None:
    """Whatever is in the file, nearly boundaries too, and wherever its packets are cut."""
    picture, whole = b"".join(pieces), form(b"".join(pieces))
    chunks = []
    for cut in cuts:
        chunks.append(whole[:cut])
        whole = whole[cut:]
    status, _, _ = shared.call("POST", URL, iter([chunk for chunk in [*chunks, whole] if chunk]), **FORM)

    assert (status, shared.pictures[-1]) == (200, picture)


def test_a_form_has_the_same_limit(port: Port) -> None:
    """A file of exactly 20 MiB is passed on; one byte more is refused with 413, declared or not, early."""
    assert port.call("PUT", URL, form(bytes(MAX_PICTURE_BYTES)), **FORM)[0] == 200
    whole = form(bytes(MAX_PICTURE_BYTES + 1))
    for body in (whole, iter([whole[:MIB], whole[MIB:]])):
        status, _, answer = port.call("POST", URL, body, **FORM)

        assert status == 413
        assert error(answer) == ("INVALID_ARGUMENT", "The image is larger than 20 MiB, the most that is read.")
    assert len(port.pictures) == 1


@pytest.mark.parametrize("filler", [b"\r\n" * MIB, b"\r\n" + b"x" * MIB, part(b"") + b"x" * MIB])
def test_what_is_no_file_in_a_form_is_bounded_too(port: Port, filler: bytes) -> None:
    """A form that never comes to its file, or goes on behind it, is refused and not read for ever."""
    status, _, body = port.call("POST", URL, (filler for _ in range(30)), **FORM)

    assert status in (400, 413) and error(body)[0] == "INVALID_ARGUMENT"
    assert port.pictures == []


def test_a_large_form_is_refused_where_there_is_no_memory(port: Port) -> None:
    """While memory is short a small form is read, and one over a mebibyte is refused with 429 while it arrives."""
    port.full = True
    assert port.call("POST", URL, form(bytes(MIB - 1000)), **FORM)[0] == 200
    with socket.create_connection(("127.0.0.1", port.port), timeout=60) as upload:
        upload.sendall(head(19 * MIB) + part(bytes(2 * MIB)))  # and no more
        answer = http.client.HTTPResponse(upload)
        answer.begin()
        found = error(answer.read())

    assert answer.status == 429
    assert found == ("RESOURCE_EXHAUSTED", "More is being sent than there is memory for: try again.")


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (form(b"a", b"b"), FORM["Content-Type"]),
        (form(), FORM["Content-Type"]),
        (form(b"a")[:-10], FORM["Content-Type"]),
        (b"\xff\xd8\xff no form", FORM["Content-Type"]),
        (form(b"a"), "multipart/form-data"),
        (form(b"a"), "multipart/form-data; boundary=" + "x" * 300),
        (form(b"a"), "multipart/form-data; boundary=other"),
        (part(b"a").replace(b"Content-Type", b"x" * 20000), FORM["Content-Type"]),
        (part(b"a").replace(b"Content-Type", b"Content Type\0"), FORM["Content-Type"]),
    ],
    ids=["two", "none", "cut", "no form", "bare", "long boundary", "other boundary", "long header", "bad header"],
)
def test_other_forms_are_refused(port: Port, body: bytes, header: str) -> None:
    """A form that is not one with one file gets 400 and the command that works."""
    status, _, answer = port.call("POST", URL, body, **{"Content-Type": header})

    assert status == 400 and port.pictures == []
    code, message = error(answer)
    assert code == "INVALID_ARGUMENT" and "curl -F image=@x.jpg" in message


@pytest.mark.parametrize("text", [b'{"image": "/9j/4AAQSkZJRg=="}', b"/9j/4AAQSkZJRg==\n", b"data:image/jpeg;base64,x"])
def test_text_gets_the_command_that_works(port: Port, text: bytes) -> None:
    """Base64 and JSON that no decoder takes: the answer says how a picture is sent over HTTP."""
    status, _, body = port.call("POST", "/api/classify?model=INVALID_ARGUMENT", text)

    assert status == 400
    assert error(body)[1] == (
        "No. Over HTTP a picture is sent as it is, without base64 or JSON: "
        "curl --data-binary @x.jpg, curl -T x.jpg or curl -F image=@x.jpg."
    )


def test_other_errors_keep_their_sentence(port: Port) -> None:
    """Nothing is added where a picture was sent, or where what was sent is not to blame."""
    for model, body in (("INVALID_ARGUMENT", b"\xff\xd8\xff\0"), ("NOT_FOUND", b"{}")):
        assert error(port.call("POST", f"/api/classify?model={model}", body)[2]) == (model, "No.")


def test_a_caller_who_leaves_ends_the_upload(port: Port) -> None:
    """A connection that closes within a form is no picture."""
    with socket.create_connection(("127.0.0.1", port.port), timeout=60) as upload:
        upload.sendall(head(MIB) + part(bytes(1000)))

    assert port.call("GET", "/livez")[0] == 200
    assert port.pictures == []
