"""Pings that are answered, are not, or are not sent for a while."""

import asyncio
import time

import pytest

from service.supervisor.heartbeat import Heartbeat

INTERVAL = 0.01  # seconds


class Other:
    """Another process, which answers the first so many pings."""

    def __init__(self, answers: int, starts_within: int) -> None:
        self.pings, self.answers, self.hung_after = 0, answers, asyncio.Future[int]()
        self.pinged = asyncio.Event()
        self.heartbeat = Heartbeat(
            self.ping,
            lambda: self.hung_after.set_result(self.pings),
            starts_within=starts_within,
            interval=INTERVAL,
        )

    def ping(self) -> None:
        self.pings += 1
        self.pinged.set()
        if self.pings <= self.answers:
            asyncio.get_running_loop().call_soon(lambda: self.heartbeat.answer())


@pytest.mark.parametrize(("answers", "starts_within", "pings"), [(0, 1, 1), (0, 4, 4), (1, 5, 4), (2, 1, 5)])
def test_three_pings_without_an_answer_are_a_hang(answers: int, starts_within: int, pings: int) -> None:
    """And as many as were allowed for a start, where there was none before."""

    async def run() -> int:
        return await asyncio.wait_for(Other(answers, starts_within).hung_after, 30)

    assert asyncio.run(run()) == pings


def test_closed_heartbeat_pings_no_more() -> None:
    """Nothing is pinged, and nothing hangs, after the end."""

    async def run() -> tuple[int, bool]:
        other = Other(answers=0, starts_within=3)
        await other.pinged.wait()
        other.heartbeat.close()
        await asyncio.sleep(10 * INTERVAL)
        return other.pings, other.hung_after.done()

    assert asyncio.run(run()) == (1, False)


def test_paused_machine_is_no_hang() -> None:
    """However long nothing runs here, no ping is sent meanwhile, so none is missed."""

    async def run() -> bool:
        other = Other(answers=1000, starts_within=3)
        await other.pinged.wait()
        time.sleep(20 * INTERVAL)
        other.pinged.clear()
        await other.pinged.wait()
        return other.hung_after.done()

    assert not asyncio.run(run())
