"""Several frontends on one port, with one worker for all."""

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Callers
from tests.e2e.test_faults import restored, unharmed
from tests.serving import Golden, Server, wait_until

Load = Callable[..., Callers]


@pytest.fixture
def three(serve: Callable[..., Server], repository: Path) -> Server:
    """A service with three frontends, all of which are there."""
    server = serve(repository, "--model", "alpha", RESSERVE_FRONTENDS="3")
    wait_until(lambda: len(siblings(server)) == 2, "the other frontends are there")
    return server


def siblings(server: Server) -> list[psutil.Process]:
    """The frontends besides the first that listen."""
    found = []
    for process in server.everyone():
        with suppress(psutil.NoSuchProcess):
            if "service.sibling" in process.cmdline() and process.net_connections("tcp"):
                found.append(process)
    return found


def test_a_worker_of_three_frontends_loses_no_answer(three: Server, load: Load, repository: Path) -> None:
    """SIGKILL of the worker that all frontends share: none of them loses an answer."""
    callers = load(three, repository, "alpha", callers=24)
    (worker,) = three.workers()
    worker.kill()
    restored(three, 1)
    unharmed(callers)

    assert len(three.workers()) == 1


def test_metrics_are_of_all_frontends(three: Server, load: Load, repository: Path) -> None:
    """Each request is counted once, whichever frontend answered it."""
    callers = load(three, repository, "alpha", callers=24)
    report = callers.stop()

    assert report.wrong == 0 and not report.codes
    assert three.metric("grpc_server_handled_total", grpc_method="Classify", grpc_code="OK") == report.right
    assert three.metric("resserve_request_seconds_count", model="alpha", code="OK") == report.right
    assert three.metric("resserve_images_total", model="alpha") >= report.right


def test_a_killed_frontend_is_replaced(three: Server, load: Load, repository: Path, alpha: Golden) -> None:
    """SIGKILL of one frontend breaks off its own callers only, who find the others; another takes its place."""
    callers = load(three, repository, "alpha", callers=24)
    before = {process.pid for process in siblings(three)}
    siblings(three)[0].kill()
    wait_until(lambda: len(siblings(three)) == 2 and {p.pid for p in siblings(three)} != before, "it is replaced")
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
