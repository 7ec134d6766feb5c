"""The client, blocking and for asyncio, against a real gRPC service that can be told to fail."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from resserve.client import AsyncClient, Client, Label, ModelStatus, ServedModel, Timings
from resserve.errors import (
    ClassifyError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    RejectedError,
    UnavailableError,
)
from tests.support.colour_service import BLUE, GREEN, MIB, RED, ColourService, busy, names, png

Connect = Callable[..., Any]


def test_every_kind_of_image_is_classified(client: Any, tmp_path: Path) -> None:
    """Paths (as text too), bytes, Pillow images and arrays may be mixed in one request; answers keep their order."""
    path = tmp_path / "red.png"
    path.write_bytes(png(RED))

    answers = client.classify([path, png(GREEN), Image.fromarray(BLUE), RED, str(path)])

    assert names(answers) == ["red", "green", "blue", "red", "red"]


def test_prediction_holds_all_that_the_service_said(client: Any) -> None:
    """Every field of the answer arrives: model, labels in order, timings, batch size; logits only when asked for."""
    answer = client.classify(BLUE, top_k=2)

    assert answer.model == ServedModel("colours", 7, "resnet50", "fp32", "cpu", "CPUExecutionProvider", untrained=True)
    assert answer.labels == (
        Label(2, "blue", pytest.approx(220 / 260)),
        Label(0, "red", pytest.approx(20 / 260)),
    )
    assert answer.timings == Timings(0.001, 0.002, 0.003, 0.004, 0.010)
    assert answer.batch_size == 1
    assert answer.logits is None


def test_options_travel(client: Any, service: ColourService) -> None:
    """Model, version, top-k, logits and priority reach the service, and logits come back as float32 [classes]."""
    answer = client.classify(GREEN, model="colours", version=7, top_k=1, logits=True, priority="high")

    assert answer.logits.dtype == np.float32
    assert answer.logits.tolist() == [20.0, 220.0, 20.0]
    (request,) = service.requests
    assert (request.model, request.version, request.top_k, request.priority) == ("colours", 7, 1, 3)


def test_a_bad_image_among_several_is_a_value(client: Any, tmp_path: Path, service: ColourService) -> None:
    """An unreadable file, a non-image and a wrong array take their places as errors; the others are answered."""
    answers = client.classify([RED, tmp_path / "missing.jpg", b"not an image", np.zeros((2, 2)), BLUE])

    assert names(answers) == ["red", "InvalidInputError", "InvalidInputError", "InputTypeError", "blue"]
    assert "missing.jpg: No such file" in str(answers[1])
    assert str(answers[2]) == "This is not an image."
    assert "float64 [2, 2]" in str(answers[3])
    assert len(service.requests[0].images) == 3


@pytest.mark.parametrize("image", [b"not an image", Path("missing.jpg"), np.zeros((0, 4, 3), np.uint8)])
def test_a_bad_image_alone_raises(client: Any, image: Any) -> None:
    """Asked about one image, the client raises what it met."""
    with pytest.raises(InvalidInputError):
        client.classify(image)


def test_nothing_to_send_is_no_call(client: Any, service: ColourService) -> None:
    """No images, or none that can be read, are answered without calling the service."""
    assert client.classify([]) == []
    assert names(client.classify([Path("missing.jpg")])) == ["InvalidInputError"]
    assert not service.calls


def test_unavailable_is_tried_again(client: Any, service: ColourService) -> None:
    """A service that is unavailable twice, then there, is met without the caller noticing, also with 20 MiB to send."""
    service.failures.extend([(grpc.StatusCode.UNAVAILABLE, "starting")] * 2)
    photo = png(GREEN) + bytes(20 * MIB)  # readers of PNG ignore what follows its end

    answers = client.classify([photo, RED])

    assert names(answers) == ["green", "red"]
    assert service.calls["Classify"] == 3


@pytest.mark.parametrize("call", ["classify", "list_models"])
def test_retries_end(client: Any, service: ColourService, call: str) -> None:
    """After five attempts the caller is told, in the service's words."""
    service.failures.extend([(grpc.StatusCode.UNAVAILABLE, "The service is draining.")] * 9)

    with pytest.raises(UnavailableError, match=r"is unavailable: The service is draining\."):
        client.classify(RED) if call == "classify" else client.list_models()

    assert sum(service.calls.values()) == 5


def test_a_service_that_returns_is_met(serve: Callable[..., str], connect: Connect) -> None:
    """A client made before its service is there reaches it as soon as it is, within one call."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        target = f"127.0.0.1:{reserved.getsockname()[1]}"
    client = connect(target)
    starter = threading.Timer(0.3, serve, [ColourService(), target])
    starter.start()

    assert client.classify(RED).labels[0].name == "red"
    starter.join()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInputError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, RejectedError),
        (grpc.StatusCode.INTERNAL, ClassifyError),
        (grpc.StatusCode.UNIMPLEMENTED, UnavailableError),
    ],
)
def test_codes_become_exceptions_at_once(
    client: Any, service: ColourService, code: grpc.StatusCode, expected: type[ClassifyError]
) -> None:
    """Each status code has its exception, and none but UNAVAILABLE is tried again.

    A stream that ends while a request is being sent has lost its status in grpc.aio: it is told as unavailable.
    """
    stream = lambda: list(client.classify_stream([RED]))  # noqa: E731
    for call in (lambda: client.classify([RED]), stream, client.list_models):
        service.failures.append((code, "One sentence."))

        with pytest.raises(ClassifyError) as caught:
            call()

        cut = call is stream and "ended the stream" in str(caught.value)
        assert type(caught.value) is (UnavailableError if cut else expected)
    assert service.calls == {"Classify": 1, "ClassifyStream": 1, "ListModels": 1}


def test_rejected_says_when_to_come_back(client: Any, service: ColourService) -> None:
    """RetryInfo of a refusal is `retry_after`, in seconds."""
    service.failures.append(busy("The queue is full.", retry_after=0.25))

    with pytest.raises(RejectedError, match=r"^The queue is full\.$") as caught:
        client.classify(RED)

    assert caught.value.retry_after == 0.25


def test_no_service_there(connect: Connect) -> None:
    """Where nothing listens the caller is told how to start a service."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(UnavailableError, match=rf"Cannot reach a service at 127\.0\.0\.1:{port}.*resserve serve"):
        connect(f"127.0.0.1:{port}").list_models()


def test_another_protocol_there(connect: Connect) -> None:
    """Where something answers that does not speak gRPC, such as the HTTP port, the caller is told of the gRPC port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=_speak_http_1, args=[listener], daemon=True).start()

        with pytest.raises(UnavailableError, match=rf"^127\.0\.0\.1:{port} answers, but does not speak gRPC: is it"):
            connect(f"127.0.0.1:{port}").list_models()


@pytest.mark.parametrize(
    ("target", "instead"),
    [
        ("http://127.0.0.1:8002", "127.0.0.1:8001"),
        ("https://models.example.org/api", "models.example.org:8001"),
        ("grpc://[::1]:8001", "[::1]:8001"),
    ],
)
def test_a_web_address_is_no_target(connect: Connect, target: str, instead: str) -> None:
    """An address with a scheme is answered, before any call, with the form that is meant."""
    with pytest.raises(InvalidInputError, match=re.escape(f"as HOST:PORT, e.g. {instead}.")):
        connect(target)


def _speak_http_1(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")


def test_timeout_is_kept(serve: Callable[..., str], connect: Connect) -> None:
    """The call's timeout, else the client's, ends a call that is not answered, as a DeadlineError."""
    release = threading.Event()

    class Slow(ColourService):
        def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
            release.wait(20)
            return super().Classify(request, context)

    target = serve(Slow())
    started = time.monotonic()
    with pytest.raises(DeadlineError, match="allow a longer timeout"):
        connect(target, timeout=0.2).classify(RED)
    with pytest.raises(DeadlineError):
        connect(target).classify(RED, timeout=0.2)
    elapsed = time.monotonic() - started
    release.set()

    assert elapsed < 10


def test_large_messages_pass_and_too_large_ones_are_explained(client: Any, service: ColourService) -> None:
    """Far more than gRPC's 4 MiB default passes; what is over 64 MiB is refused before it is sent."""
    half = png(RED) + bytes(33 * MIB)  # readers of PNG ignore what follows its end

    assert names(client.classify([half])) == ["red"]
    with pytest.raises(InvalidInputError, match="66 MiB and one message may have 64"):
        client.classify([half, half])
    assert service.calls["Classify"] == 1


def test_wrong_options_raise_before_a_call(client: Any, service: ColourService) -> None:
    """A top-k below 1, an unknown priority and an unknown option are the caller's mistakes."""
    for options, error in (({"top_k": 0}, ValueError), ({"priority": "urgent"}, ValueError), ({"k": 1}, TypeError)):
        with pytest.raises(error):
            client.classify(RED, **options)
        with pytest.raises(error):
            list(client.classify_stream([RED], **options))
    assert not service.requests


def test_list_models(client: Any) -> None:
    """Every field of a model's status arrives, the reason of a failure too."""
    ready, failed = client.list_models()

    assert ready == ModelStatus(
        model=ServedModel("colours", 7, "resnet50", "fp32", "cpu", "CPUExecutionProvider", untrained=True),
        state="ready",
        reason="",
        parameters=25_557_032,
        multiply_adds=4_089_184_256,
        input_height=224,
        input_width=200,
        labels=("red", "green", "blue"),
        metrics={"top1": 0.75},
        metrics_data="colours",
        plan="2 lanes of 1 thread",
    )
    assert (failed.model.name, failed.model.version, failed.state) == ("broken", 3, "failed")
    assert failed.reason == "model.onnx was altered"


def test_clients_are_context_managers(serve: Callable[..., str]) -> None:
    """`with` and `async with` give the client and close its connection."""
    target = serve(ColourService())

    async def use() -> AsyncClient:
        async with AsyncClient(target) as client:
            assert (await client.classify(RED)).labels[0].name == "red"
        return client

    with Client(target) as client:
        assert client.classify(RED).labels[0].name == "red"
    with pytest.raises(ValueError, match="closed"):
        client.classify(RED)
    asyncio.run(use())


def test_threads_share_a_client(serve: Callable[..., str]) -> None:
    """Many threads on one client each get their own answers."""
    images, answers = [RED, GREEN, BLUE] * 20, [""] * 60
    with Client(serve(ColourService())) as client:

        def ask(index: int) -> None:
            answers[index] = client.classify(images[index]).labels[0].name

        threads = [threading.Thread(target=ask, args=[index]) for index in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == ["red", "green", "blue"] * 20
