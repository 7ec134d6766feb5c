"""What large requests leave of a service's memory."""

import contextlib
import itertools
import select
import socket
import struct
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest

from resserve.v1 import classifier_pb2 as pb
from tests.support.callers import Callers
from tests.support.service_process import Golden, Server, code_of, wait_until
from tests.support.stalled_upload import StalledUpload

Serve = Callable[..., Server]
Load = Callable[..., Callers]
MIB = 2**20


def broken() -> bytes:
    """A PNG whose header is fine and whose 20 MB of pixels are none, so that it fails when it is decoded."""
    ihdr, idat = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0), bytes(19 * MIB)
    chunks = ((kind, struct.pack(">I", len(data)), data) for kind, data in ((b"IHDR", ihdr), (b"IDAT", idat)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        length + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, length, data in chunks
    )


@pytest.mark.parametrize(
    "images",
    [lambda: [bytes(25 * MIB)], lambda: [b"no image".ljust(MIB)] * 25, lambda: [broken()]],
    ids=["large", "many", "undecodable"],
)
def test_refused_requests_leave_no_memory(
    serve: Serve, repository: Path, alpha: Golden, images: Callable[[], list[bytes]]
) -> None:
    """A request that is refused is freed at once, and what the heap kept of large ones is given back."""
    server = serve(repository, "--model", "alpha")
    server.classify(alpha.pngs[0])
    frontend = psutil.Process(server.pid)
    before, highest = frontend.memory_info().rss, 0
    request = pb.ClassifyRequest(images=images())

    for _ in range(30):
        assert code_of(lambda: server.stub.Classify(request, timeout=60))[0] == "INVALID_ARGUMENT"
        highest = max(highest, frontend.memory_info().rss)

    assert highest < before + 400 * MIB
    wait_until(lambda: frontend.memory_info().rss < before + 300 * MIB, "free memory is given back", 10)


def test_idle_streams_keep_nothing_of_what_they_sent(serve: Serve, repository: Path, alpha: Golden) -> None:
    """Twenty streams that each sent a large request, got its error and stay open."""
    server = serve(repository, "--model", "alpha")
    server.classify(alpha.pngs[0])
    frontend = psutil.Process(server.pid)
    before = frontend.memory_info().rss
    leave = threading.Event()
    large = pb.ClassifyRequest(images=[bytes(25 * MIB)])

    streams = []
    for _ in range(20):
        streams.append(server.stub.ClassifyStream(itertools.chain([large], iter(leave.wait, True)), timeout=120))
        assert next(streams[-1]).error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]

    assert frontend.memory_info().rss < before + 350 * MIB
    leave.set()
    assert [list(stream) for stream in streams] == [[]] * 20


def test_more_is_sent_than_there_is_memory_for(serve: Serve, load: Load, repository: Path, alpha: Golden) -> None:
    """Calls whose large messages never end are broken off before they have filled the memory; others are answered."""
    server = serve(repository, "--model", "alpha")
    frontend = psutil.Process(server.pid)
    before = frontend.memory_info().rss
    callers = load(server, repository, "alpha", callers=2)
    leave = threading.Event()
    idle = server.stub.ClassifyStream(iter(leave.wait, True))  # waits before they come, and sends nothing
    uploads = [
        StalledUpload(server.address, method, announced=60 * MIB, sent=50 * MIB)
        for method in (b"Classify", b"ClassifyStream") * 20
    ]

    highest = 0

    def settled() -> bool:
        nonlocal highest
        highest = max(highest, frontend.memory_info().rss)
        return all(upload.answered or upload.sent >= 50 * MIB for upload in uploads)

    wait_until(settled, "all that is sent has been taken or broken off")
    callers.unharmed()
    broken_off = sum(upload.answered for upload in uploads)
    assert 10 <= broken_off < len(uploads) and highest < 1400 * MIB
    assert server.metric("resserve_rejected_total", reason="memory") == broken_off
    assert server.health("") == "SERVING" and server.classify(alpha.pngs[0]).results[0].labels
    assert not server.events("rpc failed") and "Traceback" not in server.text

    leave.set()
    assert list(idle) == [], "those that have waited longest are broken off last"
    for upload in uploads:
        upload.close()
    wait_until(lambda: frontend.memory_info().rss < before + 300 * MIB, "their memory is given back", 10)


FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "start"), [("image/jpeg", b""), ("multipart/form-data; boundary=x", FORM)], ids=["bodies", "forms"]
)
def test_more_pictures_are_uploaded_than_there_is_memory_for(
    serve: Serve, repository: Path, alpha: Golden, kind: str, start: bytes
) -> None:
    """The same over HTTP: uploads that stall are refused once there is no memory for more, and others are answered."""
    server = serve(repository, "--model", "alpha")
    host, _, port = server.http.removeprefix("http://").rpartition(":")
    lines = ("POST /api/classify HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {20 * MIB}")
    head = "".join(f"{line}\r\n" for line in (*lines, "")).encode() + start
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(80)]
        for upload in uploads:
            upload.sendall(head)
            with contextlib.suppress(OSError):  # the service ends it before all is sent
                upload.sendall(bytes(19 * MIB))
        time.sleep(1)
        answered, _, _ = select.select(uploads, [], [], 0)

        assert 10 < len(answered) < 60 and psutil.Process(server.pid).memory_info().rss < 1400 * MIB
        assert server.health("") == "SERVING" and server.classify(alpha.pngs[0]).results[0].labels
        picture = urllib.request.Request(f"{server.http}/api/classify?model=alpha", alpha.pngs[0])
        with urllib.request.urlopen(picture, timeout=60) as response:
            assert response.status == 200
