"""What a service withstands from its callers: those that cancel, vanish, send nonsense, or are too many.

Other callers, in another process, check every answer meanwhile; "right" is an answer within the certificate's tolerance
of PyTorch's logits for that very image. They never try again, so a call that failed for them has failed.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from bench import load as load_tool
from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc
from tests.support.bad_callers import bombard, hold
from tests.support.callers import Callers
from tests.support.faulty_models import picture, write_version
from tests.support.service_process import CHANNEL, Golden, Server, code_of, wait_until
from tests.support.stalled_upload import frame

Serve = Callable[..., Server]
Load = Callable[..., Callers]


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_caller_that_cancels_spoils_no_batch(serve: Serve, repository: Path, alpha: Golden, which: str) -> None:
    """One of the calls that wait for a batch, or run in it, goes; its neighbours are answered rightly."""
    server = serve(repository, "--model", "alpha", RESSERVE_LANES="1", RESSERVE_MAX_BATCH="4")
    sizes = set()
    for number in range(30):
        calls = [
            server.stub.Classify.future(pb.ClassifyRequest(images=[image], logits=True), timeout=60)
            for image in alpha.pngs
        ]
        gone = {"first": 0, "middle": 4, "last": 7}[which]
        time.sleep(number * 0.0005)
        calls[gone].cancel()
        for index, call in enumerate(calls):
            if index != gone:
                (result,) = call.result().results
                sizes.add(result.batch_size)
                assert np.abs(np.array(result.logits) - alpha.logits[index]).max() <= alpha.tolerance

    assert max(sizes) > 1, "there were batches"
    wait_until(lambda: server.metric("resserve_in_service_images") == 0, "nothing is left in service")
    assert not server.events("worker ended")


def test_callers_that_vanish(serve: Serve, load: Load, repository: Path) -> None:
    """Callers' processes are killed in the middle of calls; the rest are answered, and nothing is kept for the dead."""
    server = serve(repository, "--model", "alpha")
    callers = load(server, repository, "alpha", callers=2)
    for _ in range(2):
        doomed = load(server, repository, "alpha", callers=16)
        doomed.process.kill()
    callers.unharmed()

    def idle() -> bool:
        return server.metric("resserve_in_service_images") + server.metric("resserve_queue_images") == 0

    wait_until(idle, "what the dead asked for is forgotten")
    port = int(server.address.rpartition(":")[2])
    frontend = psutil.Process(server.pid)
    wait_until(
        lambda: sum(c.status == psutil.CONN_ESTABLISHED for c in frontend.net_connections() if c.laddr[1] == port) <= 1,
        "their connections are closed",
    )


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HALF_SENT = [
    b"",
    PREFACE[:10],
    PREFACE,
    PREFACE + frame(4, 0, 0, b"")[:5],  # half a SETTINGS frame
    PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, os.urandom(64)),  # headers that are none
    PREFACE + frame(4, 0, 0, b"") + frame(0, 0, 1, b"data of no stream"),
    PREFACE + frame(4, 0, 0, b"") + struct.pack(">I", 2**24 - 1)[1:] + bytes(6),  # 16 MiB announced, none sent
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    os.urandom(4096),
]


def test_half_sent_requests(serve: Serve, load: Load, repository: Path) -> None:
    """Connections that send a part of a request or plain garbage, and stay or go, disturb nobody; on either port."""
    server = serve(repository, "--model", "alpha")
    callers = load(server, repository, "alpha", callers=2)
    held = []
    for address in (server.address, server.http.removeprefix("http://")):
        host, _, port = address.rpartition(":")
        for number, data in enumerate(HALF_SENT * 4):
            connection = socket.create_connection((host, int(port)), timeout=30)
            connection.sendall(data)
            if number % 2:
                connection.close()
            else:
                held.append(connection)
    half = b"POST /api/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"
    host, _, port = server.http.removeprefix("http://").rpartition(":")
    held.append(socket.create_connection((host, int(port))))
    held[-1].sendall(half)
    time.sleep(0.5)
    callers.unharmed()
    assert server.health("") == "SERVING" and server.get("/livez")[0] == 200
    assert server.stop() == 0
    for connection in held:
        connection.close()


def test_more_connections_than_descriptors(serve: Serve, repository: Path, alpha: Golden) -> None:
    """Connections take what the system allows: a worker that ends is replaced all the same, or once they have gone."""
    server = serve(repository, "--model", "alpha", under=["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"])
    server.classify(alpha.pngs[0])
    frontend = psutil.Process(server.pid)

    with contextlib.ExitStack() as held:
        hold(server.address, 400, held)
        (worker,) = server.workers()
        worker.kill()
        (result,) = server.classify(alpha.pngs[1], logits=True).results
        assert np.abs(np.array(result.logits) - alpha.logits[1]).max() <= alpha.tolerance
        with grpc.insecure_channel(server.address, CHANNEL) as channel:
            listed = pb_grpc.ClassifierStub(channel).ListModels
            assert code_of(lambda: listed(pb.ListModelsRequest(), timeout=30))[0] == "UNAVAILABLE"

        hold(server.http.removeprefix("http://"), 400, held)
        wait_until(lambda: frontend.num_fds() > 250, "HTTP has no such limit")
        (worker,) = server.workers()
        worker.kill()
        wait_until(lambda: server.events("worker cannot start"), "there is no descriptor left")
    (result,) = server.classify(alpha.pngs[2], logits=True).results
    assert np.abs(np.array(result.logits) - alpha.logits[2]).max() <= alpha.tolerance
    assert server.stop() == 0


def test_the_limit_of_descriptors_is_raised(serve: Serve, repository: Path) -> None:
    """To the most that is allowed, in the process that takes connections."""
    server = serve(repository, "--model", "alpha", under=["sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh"])
    soft, hard = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard > 256


def survives_bad_requests(server: Server, golden: Golden, count: int) -> None:
    """After so many bad requests the same processes answer as well as before."""
    processes = {process.pid for process in server.everyone()}
    bombard(server, golden, count)

    assert server.health("") == server.health("alpha") == "SERVING"
    (result,) = server.classify(golden.pngs[3], model="alpha", logits=True).results
    assert np.abs(np.array(result.logits) - golden.logits[3]).max() <= golden.tolerance
    assert {process.pid for process in server.everyone()} == processes
    assert not server.events("rpc failed") and not server.events("worker ended") and "Traceback" not in server.text
    wait_until(lambda: server.metric("resserve_in_service_images") == 0, "nothing is left in service")


def test_bad_requests(serve: Serve, repository: Path, alpha: Golden) -> None:
    """500 mixed bad requests, then health and a good answer from the same processes, with nothing unforeseen logged."""
    survives_bad_requests(serve(repository), alpha, 500)


@pytest.mark.slow
def test_ten_thousand_bad_requests(serve: Serve, repository: Path, alpha: Golden) -> None:
    """10,000 mixed bad requests, then health and a good answer; memory does not grow with them."""
    server = serve(repository)
    bombard(server, alpha, 1000)
    before = sum(process.memory_full_info().pss for process in server.everyone())
    survives_bad_requests(server, alpha, 10_000)

    assert sum(process.memory_full_info().pss for process in server.everyone()) < 1.1 * before + 20 * 2**20


def test_bad_requests_over_http(serve: Serve, repository: Path) -> None:
    """Paths, methods and bodies that mean nothing get an answer that says so, and the port lives on."""
    server = serve(repository, "--model", "alpha")
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/nothing", "/" + "x" * 5000):
        assert server.get(path)[0] in (400, 404, 405, 414)
    assert server.get("/livez")[0] == 200
    assert code_of(lambda: server.classify(b"?"))[0] == "INVALID_ARGUMENT"


@pytest.mark.slow
def test_overload_keeps_the_goodput(serve: Serve, tmp_path: Path) -> None:
    """Three times what it can do, with a deadline of 1 s: at least 80 % of the full rate is answered in time.

    The callers never wait for each other, and afterwards the service is as fast as before. It shares the machine's
    cores with the load here; `make bench` measures the ratio properly.
    """
    write_version(tmp_path / "hazards", "slow")
    server = serve(tmp_path / "hazards", RESSERVE_MAX_BATCH="1")  # batches take no longer: gRPC would limit
    images = [picture(red) for red in range(32)]
    target = load_tool.Target(address=server.address, images=images, model="slow")
    closed = load_tool.Plan(seconds=12, warmup=2, concurrency=16)
    (before,) = load_tool.drive(target, [closed])
    plan = load_tool.Plan(seconds=22, warmup=2, rate=3 * before.throughput, deadlines=(1.0, 1.0))
    (overload,) = load_tool.drive(target, [plan])
    (after,) = load_tool.drive(target, [closed])
    slower, full = sorted((before.throughput, after.throughput))
    if slower < 0.8 * full:
        pytest.skip(f"the machine is too busy to tell: {slower:.0f} and {full:.0f} answers a second with no overload")

    # Where a deadline passes, the service's own notice of it, which gRPC calls CANCELLED, may come first.
    errors = overload.errors
    refused = errors.pop("RESOURCE_EXHAUSTED")
    late = errors.pop("DEADLINE_EXCEEDED", 0) + errors.pop("CANCELLED", 0)
    assert not errors
    assert overload.offered > 1.5 * full and overload.goodput >= 0.8 * full
    assert refused > 10 * late
    assert not after.errors
