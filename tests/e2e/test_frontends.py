"""Several frontends on one port, with one worker for all."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event

import grpc
import psutil
import pytest

from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc
from tests.support.bad_callers import hold
from tests.support.callers import Callers
from tests.support.faulty_models import CALM, TERRIBLE, answer, picture, write_version, x86
from tests.support.service_process import CHANNEL, Golden, Server, code_of, restored, wait_until

Load = Callable[..., Callers]


@pytest.fixture
def three(serve: Callable[..., Server], repository: Path) -> Server:
    """A service with three frontends, all of which are there."""
    server = serve(repository, "--model", "alpha", RESSERVE_FRONTENDS="3")
    wait_until(lambda: len(others(server)) == 2, "the other frontends are there")
    return server


def others(server: Server) -> list[psutil.Process]:
    """The frontends besides the first that listen."""
    found = []
    for process in server.frontends():
        with suppress(psutil.NoSuchProcess):
            if process.net_connections("tcp"):
                found.append(process)
    return found


def lose(server: Server, how: str) -> None:
    """Kill or suspend one of the other frontends, until another has taken its place."""
    before = {process.pid for process in others(server)}
    getattr(others(server)[0], how)()
    wait_until(lambda: len(others(server)) == 2 and {p.pid for p in others(server)} != before, "it is replaced")


def test_a_worker_of_three_frontends_loses_no_answer(three: Server, load: Load, repository: Path) -> None:
    """SIGKILL of the worker that all frontends share: none of them loses an answer."""
    callers = load(three, repository, "alpha", callers=24)
    (worker,) = three.workers()
    worker.kill()
    restored(three, 1)
    callers.unharmed()

    assert len(three.workers()) == 1


def test_metrics_are_of_all_frontends(three: Server, load: Load, repository: Path) -> None:
    """Each request is counted once, whichever frontend answered it."""
    callers = load(three, repository, "alpha", callers=24)
    report = callers.stop()

    assert report.wrong == 0 and not report.codes
    assert three.metric("grpc_server_handled_total", grpc_method="Classify", grpc_code="OK") == report.right
    assert three.metric("resserve_request_seconds_count", model="alpha", code="OK") == report.right
    assert three.metric("resserve_images_total", model="alpha") >= report.right


@pytest.mark.parametrize("how", ["kill", "suspend"])
def test_a_frontend_that_ends_or_hangs_is_replaced(
    three: Server, load: Load, repository: Path, alpha: Golden, how: str
) -> None:
    """SIGKILL or SIGSTOP of one breaks off its own callers only, who find the others; another takes its place."""
    callers = load(three, repository, "alpha", callers=24)
    lose(three, how)
    report = callers.stop()

    assert report.wrong == 0 and set(report.codes) <= {"UNAVAILABLE"} and sum(report.codes.values()) <= 24
    assert len(three.workers()) == 1 and not three.events("worker ended")
    assert three.classify(alpha.pngs[0]).results[0].labels


def test_all_frontends_drain(three: Server, load: Load, repository: Path) -> None:
    """SIGTERM ends them all with 0 once each has answered what it had begun."""
    callers = load(three, repository, "alpha", callers=24)
    assert three.stop() == 0
    report = callers.stop()

    assert report.wrong == 0 and set(report.codes) <= {"UNAVAILABLE", "CANCELLED"}
    assert three.everyone() == []


def test_a_killed_first_frontend_takes_the_others_along(three: Server) -> None:
    """SIGKILL of the first leaves neither a worker nor another frontend."""
    three.process.send_signal(signal.SIGKILL)

    wait_until(lambda: not three.everyone(), "every process has ended", 10)


@x86
@pytest.mark.parametrize("finder", ["the first", "another"])
def test_what_one_frontend_finds_to_be_poison_all_refuse(
    serve: Callable[..., Server], tmp_path: Path, finder: str
) -> None:
    """An image ends two workers through one frontend, and none through the others, whose callers are all answered.

    Nor through one that comes later.
    """
    write_version(tmp_path / "hazards", "crash")
    server = serve(tmp_path / "hazards", RESSERVE_FRONTENDS="3", RESSERVE_MAX_BATCH="1")
    wait_until(lambda: len(others(server)) == 2, "the other frontends are there")
    frontend = psutil.Process(server.process.pid) if finder == "the first" else others(server)[0]
    end = Event()

    def neighbour(number: int) -> int:
        answered = 0
        with grpc.insecure_channel(server.address, CHANNEL) as channel:
            while not end.is_set():
                red = (number * 50 + answered) % 250
                assert classify(channel, picture(red, number)) == answer(red)
                answered += 1
        return answered

    with ThreadPoolExecutor(6) as pool, connection(server, frontend) as guilty:
        neighbours = [pool.submit(neighbour, number) for number in range(6)]
        assert code_of(lambda: classify(guilty, picture(TERRIBLE)))[0] == "INTERNAL"
        wait_until(lambda: refusals(server, 12) == 12, "every frontend knows it")
        end.set()
        assert min(asked.result() for asked in neighbours) > 0

    lose(server, "kill")
    assert refusals(server, 12) == 12
    assert server.metric("resserve_worker_restarts_total", model="crash", reason="crash") == 2
    assert len(server.events("image ended two workers")) == 1


def connection(server: Server, frontend: psutil.Process) -> grpc.Channel:
    """One to this frontend: the kernel decides which of them takes it, so that it may need some tries."""
    for _ in range(100):
        before = set(frontend.net_connections("tcp"))
        channel = grpc.insecure_channel(server.address, CHANNEL)
        grpc.channel_ready_future(channel).result(timeout=30)
        if set(frontend.net_connections("tcp")) - before:
            return channel
        channel.close()
    raise AssertionError(f"no connection found its way to {frontend}")


def refusals(server: Server, connections: int) -> int:
    """On how many new connections, which the kernel spreads over the frontends, the terrible image is refused."""
    refused = 0
    for _ in range(connections):
        with grpc.insecure_channel(server.address, CHANNEL) as channel:
            code, message = code_of(partial(classify, channel, picture(TERRIBLE)))
            assert "two workers" in message
            refused += code == "INVALID_ARGUMENT"
    return refused


def classify(channel: grpc.Channel, image: bytes) -> list[float]:
    """The logits of one image over a connection of one's own."""
    request = pb.ClassifyRequest(images=[image], logits=True)
    return list(pb_grpc.ClassifierStub(channel).Classify(request, timeout=120).results[0].logits)


def test_a_frontend_that_cannot_start_is_tried_again(serve: Callable[..., Server], repository: Path) -> None:
    """Connections to the page have taken the first one's descriptors when another has ended."""
    limited = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    server = serve(repository, "--model", "alpha", under=limited, RESSERVE_FRONTENDS="2")
    wait_until(lambda: others(server), "the other frontend is there")
    with ExitStack() as held:
        hold(server.http.removeprefix("http://"), 400, held)
        wait_until(lambda: psutil.Process(server.pid).num_fds() > 250, "no descriptor is left")
        others(server)[0].kill()
        wait_until(lambda: server.events("frontend cannot start"), "it is missed")
    wait_until(lambda: others(server), "it is replaced")


def test_frontend_that_is_replaced_serves_the_version_of_the_others(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """A newer version in the repository is not served until the supervisor says so, by a new frontend neither."""
    write_version(tmp_path / "hazards", "error")
    server = serve(tmp_path / "hazards", RESSERVE_FRONTENDS="2")
    wait_until(lambda: others(server), "the other frontend is there")
    (before,) = others(server)
    write_version(tmp_path / "hazards", "error", 2)
    before.kill()
    wait_until(lambda: others(server) not in ([], [before]), "it is replaced")
    with connection(server, others(server)[0]) as channel:
        stub = pb_grpc.ClassifierStub(channel)
        answered = stub.Classify(pb.ClassifyRequest(images=[picture(CALM)]), timeout=60)
        listed = stub.ListModels(pb.ListModelsRequest(), timeout=60)

    assert answered.model.version == 1
    assert [status.model.version for status in listed.models] == [1]


def test_gauges_of_a_killed_frontend_are_gone(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Its images are neither waiting nor running any more, and what it had counted stays."""
    write_version(tmp_path / "hazards", "hang")
    server = serve(tmp_path / "hazards", RESSERVE_FRONTENDS="2", RESSERVE_MAX_BATCH="1")
    wait_until(lambda: others(server), "the other frontend is there")
    (frontend,) = others(server)
    with connection(server, frontend) as channel:
        stub = pb_grpc.ClassifierStub(channel)
        stub.Classify(pb.ClassifyRequest(images=[picture(CALM)]), timeout=60)
        assert server.metric("resserve_images_total", model="hang") == 1
        hanging = [
            stub.Classify.future(pb.ClassifyRequest(images=[picture(TERRIBLE, n)]), timeout=60) for n in range(2)
        ]
        wait_until(lambda: server.metric("resserve_in_service_images") == 2, "its images are with the worker")
        frontend.kill()
        wait_until(lambda: others(server) not in ([], [frontend]), "it is replaced")
        for call in hanging:
            assert call.exception() is not None

    assert server.metric("resserve_in_service_images") == server.metric("resserve_queue_images") == 0
    assert server.metric("resserve_images_total", model="hang") == 1
