"""Images that end workers, and models that cannot keep one: graphs that crash, hang or fail for one colour."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from resserve.v1 import classifier_pb2 as pb
from tests.support.faulty_models import CALM, TERRIBLE, answer, picture, write_version, x86
from tests.support.service_process import Server, code_of, wait_until

Serve = Callable[..., Server]

# The division that traps for one image is vectorised for several, and then does not.
SINGLY = {"RESSERVE_MAX_BATCH": "1"}


@pytest.fixture
def hazards(tmp_path: Path) -> Path:
    """A repository of the three."""
    for kind in ("crash", "error", "hang"):
        write_version(tmp_path / "hazards", kind)
    return tmp_path / "hazards"


class Neighbours:
    """Callers of harmless images of the same model, all the while; each answer is checked."""

    def __init__(self, server: Server, model: str) -> None:
        self.server, self.model = server, model
        self.end = Event()
        self.pool = ThreadPoolExecutor(4)
        self.callers = [self.pool.submit(self.ask, number) for number in range(4)]

    def ask(self, number: int) -> int:
        answered = 0
        while not self.end.is_set():
            red = (number * 50 + answered) % 250
            response = self.server.classify(picture(red, number), model=self.model, logits=True)
            assert list(response.results[0].logits) == answer(red)
            answered += 1
        return answered

    def __enter__(self) -> "Neighbours":
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.pool.shutdown()

    def unharmed(self) -> bool:
        """Stop them: each was answered again and again, always rightly."""
        self.end.set()
        return min(caller.result() for caller in self.callers) > 0


def is_poison(server: Server, model: str, terrible: bytes, workers: int) -> None:
    """The image is refused after it ended two workers, then at once and for ever, and logged by its digest."""
    with Neighbours(server, model) as neighbours:
        code, message = code_of(lambda: server.classify(terrible, model=model, timeout=120))
        assert code == "INTERNAL" and "two workers" in message
        ends = len(server.events("worker ended"))
        code, message = code_of(lambda: server.classify(terrible, model=model))
        assert code == "INVALID_ARGUMENT" and "two workers" in message
        assert len(server.events("worker ended")) == ends == workers
        assert neighbours.unharmed()
    (entry,) = server.events("image ended two workers")
    assert entry["sha256"] == hashlib.sha256(terrible).hexdigest() and entry["model"] == model
    assert list(server.classify(picture(CALM), model=model, logits=True).results[0].logits) == answer(CALM)


@x86
def test_an_image_that_crashes_workers_is_poison(serve: Serve, hazards: Path) -> None:
    """Two workers die of it, and no third; all other callers of the model are answered."""
    server = serve(hazards, "--model", "crash", **SINGLY)
    is_poison(server, "crash", picture(TERRIBLE), workers=2)

    assert server.metric("resserve_worker_restarts_total", model="crash", reason="crash") == 2


@x86
def test_copies_of_an_image_that_crashes_workers_end_no_more(serve: Serve, hazards: Path) -> None:
    """Sent many times at once, it ends two workers and not one for each copy, which would take the model down."""
    server = serve(hazards, "--model", "crash", **SINGLY)
    with Neighbours(server, "crash") as neighbours, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(code_of, lambda: server.classify(picture(TERRIBLE), timeout=120)) for _ in range(20)]
        codes = [call.result()[0] for call in asked]
        assert neighbours.unharmed()

    assert codes.count("INTERNAL") == 1 and codes.count("INVALID_ARGUMENT") == 19
    assert server.metric("resserve_worker_restarts_total", model="crash", reason="crash") == 2


@x86
def test_an_image_whose_callers_do_not_wait_is_poison_all_the_same(serve: Serve, hazards: Path) -> None:
    """Callers with less time than a worker takes to be replaced cannot end one worker after another."""
    server = serve(hazards, "--model", "crash", **SINGLY)
    for end in (1, 2):
        code, _ = code_of(lambda: server.classify(picture(TERRIBLE), timeout=0.1))
        assert code == "DEADLINE_EXCEEDED" or (code == "INTERNAL" and end == 2)
        wait_until(lambda end=end: len(server.events("model ready")) == end + 1, "another worker has come")

    assert code_of(lambda: server.classify(picture(TERRIBLE)))[0] == "INVALID_ARGUMENT"
    assert list(server.classify(picture(CALM), logits=True).results[0].logits) == answer(CALM)
    assert server.metric("resserve_worker_restarts_total", model="crash", reason="crash") == 2


@pytest.mark.slow
def test_an_image_that_hangs_workers_is_poison(serve: Serve, hazards: Path) -> None:
    """A run that never ends is noticed, though the other lanes go on, and so is the next; then it is refused."""
    server = serve(hazards, "--model", "hang", RESSERVE_LANES="2")
    is_poison(server, "hang", picture(TERRIBLE), workers=2)

    assert server.metric("resserve_worker_restarts_total", model="hang", reason="hang") == 2


@pytest.mark.slow
def test_an_image_that_hangs_workers_is_poison_although_nobody_waits(serve: Serve, hazards: Path) -> None:
    """Its callers give up long before its runs are."""
    server = serve(hazards, "--model", "hang", RESSERVE_LANES="2")
    for end in (1, 2):
        assert code_of(lambda: server.classify(picture(TERRIBLE), timeout=1))[0] == "DEADLINE_EXCEEDED"
        wait_until(lambda end=end: len(server.events("model ready")) == end + 1, "another worker has come")

    assert code_of(lambda: server.classify(picture(TERRIBLE)))[0] == "INVALID_ARGUMENT"
    assert list(server.classify(picture(CALM), logits=True).results[0].logits) == answer(CALM)
    assert server.metric("resserve_worker_restarts_total", model="hang", reason="hang") == 2


def test_an_image_that_fails_fails_alone(serve: Serve, hazards: Path) -> None:
    """An error of the runtime is that image's own, in a request and in a batch; no worker ends; no detail leaks."""
    server = serve(hazards, "--model", "error", RESSERVE_LANES="1", RESSERVE_MAX_BATCH="4")
    code, message = code_of(lambda: server.classify(picture(TERRIBLE)))
    reds = [1, TERRIBLE, 3, 4, TERRIBLE, 6, 7, 8]
    for _ in range(5):
        results = server.classify(*[picture(red) for red in reds], logits=True).results
        assert [list(result.logits) for result in results] == [[] if r == TERRIBLE else answer(r) for r in reds]
        assert [bool(result.error.message) for result in results] == [red == TERRIBLE for red in reds]

    assert code == "INTERNAL" and "Div" not in message and "failed on this image" in message
    assert "Integer division by zero" in server.text
    assert not server.events("worker ended")


def crash_loop(server: Server) -> None:
    """Send terrible images until the model is given up."""
    for mark in range(3):
        code_of(lambda mark=mark: server.classify(picture(TERRIBLE, mark), model="crash", timeout=120))
    wait_until(lambda: server.events("model failed"), "five ends in a row")


@x86
def test_a_crash_loop_takes_one_model_down_and_not_the_service(serve: Serve, hazards: Path) -> None:
    """A model whose workers keep ending is not ready, with the reason; the other is served."""
    server = serve(hazards, "--model", "crash", "--model", "error", **SINGLY)
    crash_loop(server)

    code, message = code_of(lambda: server.classify(picture(CALM), model="crash"))
    (status,) = (s for s in server.stub.ListModels(pb.ListModelsRequest()).models if s.model.name == "crash")
    assert code == "UNAVAILABLE" and "times in a row (crash)" in message
    assert status.state == pb.MODEL_STATE_FAILED and "times in a row (crash)" in status.reason
    assert (server.health("crash"), server.health("error"), server.health("")) == ("NOT_SERVING", "SERVING", "SERVING")
    assert server.get("/readyz")[0] == 200
    assert server.classify(picture(CALM), model="error").results[0].labels


@x86
@pytest.mark.slow
def test_a_model_that_was_given_up_is_tried_again(serve: Serve, hazards: Path) -> None:
    """After a crash loop a worker is still started now and then, and once it stays the model is ready again."""
    server = serve(hazards, "--model", "crash", "--model", "error", **SINGLY)
    crash_loop(server)
    wait_until(lambda: server.health("crash") == "SERVING", "it is tried again all the same")
    assert list(server.classify(picture(CALM), model="crash", logits=True).results[0].logits) == answer(CALM)


@x86
def test_several_poisons_at_once(serve: Serve, hazards: Path) -> None:
    """Two terrible images and six harmless ones in one request: each of the six is answered."""
    server = serve(hazards, "--model", "crash", **SINGLY)
    reds = [TERRIBLE if number % 4 == 3 else number for number in range(8)]
    begun = time.monotonic()
    results = server.classify(*[picture(red, n) for n, red in enumerate(reds)], logits=True, timeout=120).results

    assert [list(result.logits) for result in results] == [[] if r == TERRIBLE else answer(r) for r in reds]
    assert time.monotonic() - begun < 60
