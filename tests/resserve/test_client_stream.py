"""Streams of both clients against a real gRPC service that can be told to hang up."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from resserve.client import AsyncClient
from resserve.errors import (
    NotFoundError,
    UnavailableError,
)
from tests.support.colour_service import BLUE, GREEN, RED, ColourService, names


def test_a_stream_that_is_unavailable_is_tried_again(client: Any, service: ColourService) -> None:
    """The same holds for a stream that has not begun to answer."""
    service.failures.extend([(grpc.StatusCode.UNAVAILABLE, "starting")] * 2)

    assert names(dict(sorted(client.classify_stream([RED, GREEN, BLUE]))).values()) == ["red", "green", "blue"]
    assert service.calls["ClassifyStream"] == 3


def test_stream_gives_each_answer_its_index(client: Any, tmp_path: Path) -> None:
    """Answers out of order, bad images and unreadable files among them, carry the index of their image."""
    images = [RED, GREEN, b"bad", BLUE, tmp_path / "missing.png", RED, GREEN]

    answers = list(client.classify_stream(images, in_flight=3))

    assert [index for index, _ in answers] != sorted(index for index, _ in answers)
    assert names(dict(sorted(answers)).values()) == [
        "red", "green", "InvalidInputError", "blue", "InvalidInputError", "red", "green",
    ]  # fmt: skip


def test_stream_error_of_a_request_is_a_value(client: Any) -> None:
    """A request that fails as a whole is answered with its error while the stream goes on."""
    answers = dict(client.classify_stream([RED, GREEN], model="unknown"))

    assert [type(answers[index]) for index in (0, 1)] == [NotFoundError, NotFoundError]
    assert str(answers[0]) == "There is no model unknown."


@pytest.mark.parametrize("in_flight", [2, 5])
def test_stream_takes_no_more_than_in_flight(client: Any, in_flight: int) -> None:
    """Images are taken only as answers make room."""
    taken: list[int] = []

    def images() -> Iterator[np.ndarray]:
        for index in range(20):
            taken.append(index)
            yield RED

    received = 0
    for _ in client.classify_stream(images(), in_flight=in_flight):
        received += 1
        assert len(taken) <= received - 1 + in_flight

    assert received == 20


def test_stream_closed_early_by_the_service(client: Any, service: ColourService) -> None:
    """A stream that ends without an error while images wait is an error, not a short result."""
    service.hang_up_after = 2

    with pytest.raises(UnavailableError, match="before every image was answered"):
        list(client.classify_stream([RED] * 6, in_flight=4))


def test_stream_left_early_by_the_caller(client: Any, service: ColourService) -> None:
    """Leaving the loop ends the call, and the client goes on working."""
    stream = client.classify_stream([RED] * 6, in_flight=2)
    next(stream)
    stream.close()

    assert client.classify(BLUE).labels[0].name == "blue"


def test_stream_passes_on_the_callers_own_error(client: Any) -> None:
    """What the iterable of images raises reaches the caller as it is."""

    def images() -> Iterator[np.ndarray]:
        yield RED
        raise KeyError("camera")

    with pytest.raises(KeyError, match="camera"):
        list(client.classify_stream(images()))


def test_async_stream_takes_an_async_iterable(serve: Callable[..., str]) -> None:
    """Images may come from an asynchronous generator."""
    target = serve(ColourService())

    async def images() -> Any:
        yield RED
        yield BLUE

    async def use() -> list[Any]:
        async with AsyncClient(target) as client:
            return [answer async for answer in client.classify_stream(images())]

    assert names(dict(sorted(asyncio.run(use()))).values()) == ["red", "blue"]
