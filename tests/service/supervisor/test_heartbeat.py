"""Pings that are answered, are not, or are not sent for a while."""

import asyncio
import time
from collections.abc import Callable

import pytest

from service.supervisor.heartbeat import Heartbeat


class Other:
    """Another process, which answers the first so many pings."""

    def __init__(self, answers: int, starts_within: int) -> None:
        self.pings, self.answers, self.hung_after = 0, answers, asyncio.Future[int]()
        self.heartbeat = Heartbeat(
            self.ping, lambda: self.hung_after.set_result(self.pings), starts_within=starts_within
        )

    def ping(self) -> None:
        self.pings += 1
        if self.pings <= self.answers:
            asyncio.get_running_loop().call_soon(lambda: self.heartbeat.answered())


@pytest.mark.parametrize(("answers", "starts_within", "pings"), [(0, 1, 1), (0, 4, 4), (1, 5, 4), (2, 1, 5)])
def test_three_pings_without_an_answer_are_a_hang(answers: int, starts_within: int, pings: int) -> None:
    """And as many as were allowed for a start, where there was none before."""

    async def run() -> int:
        return await asyncio.wait_for(Other(answers, starts_within).hung_after, 30)

    assert asyncio.run(run()) == pings


@pytest.mark.parametrize(
    ("end", "most"), [(Heartbeat.stop, 1), (lambda _: time.sleep(4.5), 4)], ids=["stopped", "paused"]
)
def test_who_is_not_pinged_does_not_hang(end: Callable[[Heartbeat], None], most: int) -> None:
    """Because it was stopped, or because nobody here could."""

    async def run() -> tuple[int, bool]:
        other = Other(answers=1000, starts_within=3)
        await asyncio.sleep(0.1)
        end(other.heartbeat)
        await asyncio.sleep(1.5)
        return other.pings, other.hung_after.done()

    pings, hung = asyncio.run(run())
    assert pings <= most and not hung
