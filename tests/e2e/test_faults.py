"""What a service withstands while callers in another process check every answer.

"Right" is an answer within the certificate's tolerance of PyTorch's logits for that very image; the callers never try
again, so a call that failed for them has failed.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.callers import Callers
from tests.support.service_process import Server, restored, wait_until

Serve = Callable[..., Server]
Load = Callable[..., Callers]


def test_a_killed_worker_loses_no_answer(serve: Serve, load: Load, repository: Path) -> None:
    """SIGKILL of the worker: callers only wait a little longer; it is replaced, and the restart counted."""
    server = serve(repository, "--model", "alpha")
    callers = load(server, repository, "alpha", callers=8)
    for number in range(3):
        (worker,) = server.workers()
        worker.kill()
        restored(server, number + 1)
        time.sleep(0.3)
    callers.unharmed()

    assert server.metric("resserve_worker_restarts_total", model="alpha", reason="crash") == 3
    assert len(server.workers()) == 1


def test_a_stopped_worker_is_replaced(serve: Serve, load: Load, repository: Path) -> None:
    """SIGSTOP of the worker: taken for hung and replaced, with readiness telling and liveness staying; nothing lost."""
    server = serve(repository, "--model", "alpha")
    callers = load(server, repository, "alpha", callers=4)
    watching = server.watch("alpha")
    assert next(watching) == "SERVING"
    (worker,) = server.workers()
    worker.suspend()
    assert next(watching) == "NOT_SERVING"
    assert server.health("") == "SERVING" and server.get("/livez")[0] == 200
    assert next(watching) == "SERVING"
    watching.close()
    callers.unharmed()

    assert server.metric("resserve_worker_restarts_total", model="alpha", reason="hang") == 1
    assert [process.pid for process in server.workers()] != [worker.pid]


def test_a_frontend_that_was_stopped_does_not_blame_its_worker(serve: Serve, load: Load, repository: Path) -> None:
    """SIGSTOP and SIGCONT of the frontend, as when a machine is paused: its worker is not replaced, nothing is lost."""
    server = serve(repository, "--model", "alpha")
    callers = load(server, repository, "alpha", callers=4)
    workers = [worker.pid for worker in server.workers()]
    frontend = psutil.Process(server.process.pid)
    for _ in range(3):
        frontend.suspend()
        time.sleep(4.5)
        frontend.resume()
        time.sleep(1.5)
    callers.unharmed()

    assert [worker.pid for worker in server.workers()] == workers and not server.events("worker ended")


def test_a_worker_that_hangs_while_it_loads_is_replaced(serve: Serve, load: Load, repository: Path) -> None:
    """SIGSTOP of a worker that has not said that it is ready: it is replaced too, and nothing is lost."""
    server = serve(repository, "--model", "alpha", RESSERVE_LOAD_SECONDS="4")
    callers = load(server, repository, "alpha", callers=4)
    (first,) = server.workers()
    first.kill()
    wait_until(lambda: [worker for worker in server.workers() if worker.pid != first.pid], "the next one is started")
    (second,) = (worker for worker in server.workers() if worker.pid != first.pid)
    second.suspend()
    assert server.metric("resserve_model_state", state="READY") == 0
    restored(server, 2)
    callers.unharmed()

    assert server.metric("resserve_worker_restarts_total", model="alpha", reason="hang") == 1


def test_one_models_worker_is_not_the_others(serve: Serve, load: Load, repository: Path) -> None:
    """While one model's worker hangs and is replaced, it is the only one, and the other's callers notice nothing."""
    server = serve(repository)
    callers = load(server, repository, "beta", callers=4)
    (worker,), (other,) = server.workers("alpha"), server.workers("beta")
    worker.suspend()
    restored(server, 1)
    callers.unharmed()

    assert server.workers("alpha") != [worker] and server.workers("beta") == [other]
    assert server.metric("resserve_worker_restarts_total", model="alpha") == 1
    assert server.metric("resserve_worker_restarts_total", model="beta") == 0


# A private /dev/shm of 16 KiB, full: nobody else's is touched.
FULL = 'mount -t tmpfs -o size=16k tmpfs /dev/shm && head -c 32k /dev/zero 2>/dev/null > /dev/shm/filler; exec "$@"'
IN_FULL_SHM = ("unshare", "--mount", "--map-root-user", "sh", "-c", FULL, "sh")


def test_a_full_dev_shm_does_not_matter(serve: Serve, load: Load, repository: Path) -> None:
    """With no byte left in /dev/shm it starts, answers and replaces a worker: its memory has no name there."""
    try:
        possible = subprocess.run([*IN_FULL_SHM, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("this machine does not allow a /dev/shm of one's own")
    server = serve(repository, "--model", "alpha", under=IN_FULL_SHM)
    room = os.statvfs(f"/proc/{server.pid}/root/dev/shm")
    assert room.f_bavail == 0 and room.f_blocks * room.f_frsize == 16384
    callers = load(server, repository, "alpha", callers=4)
    server.workers()[0].kill()
    restored(server, 1)
    callers.unharmed()


def test_sigterm_under_load(serve: Serve, load: Load, repository: Path) -> None:
    """What was begun is answered, what comes later is refused; the service ends with 0 and leaves nothing.

    A call that waits inside gRPC to be taken in the very moment when it stops is broken off by gRPC, as CANCELLED.
    """
    server = serve(repository, "--model", "alpha")
    callers = load(server, repository, "alpha", callers=16)
    assert server.stop() == 0
    report = callers.stop()

    assert report.wrong == 0 and report.right > 0
    assert set(report.codes) <= {"UNAVAILABLE", "CANCELLED"} and report.codes.get("CANCELLED", 0) <= 16, report
    assert server.everyone() == []


@pytest.mark.slow
def test_kills_for_minutes(serve: Serve, load: Load, repository: Path) -> None:
    """Three minutes of kills and stops of workers at random moments: no wrong answer, no lost one, one worker each."""
    server = serve(repository)
    callers = load(server, repository, "alpha", "beta", callers=8)
    rng = random.Random(0)
    until, ends = time.monotonic() + 180, 0
    while time.monotonic() < until:
        time.sleep(rng.uniform(1.0, 3.0))
        worker = rng.choice(server.workers())
        worker.suspend() if rng.random() < 0.2 else worker.kill()
        ends += 1
        restored(server, ends)
        wait_until(lambda: len(server.workers()) == 2, "both workers are there")
        wait_until(lambda: server.metric("resserve_model_state", state="READY") == 2, "both models are ready")
    callers.unharmed()

    assert server.metric("resserve_worker_restarts_total") == ends > 20
