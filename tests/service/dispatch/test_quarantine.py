"""What becomes of what a worker had when it ended: run again, suspected, or refused as poison."""

import asyncio
import hashlib
import threading

import pytest

from service.dispatch.job import Answer
from service.errors import InvalidRequestError, LostError, ServiceError
from service.images.decode import decode
from service.ipc import messages
from tests.support.scripted_worker import (
    ScriptedWorker,
    give_up,
    on_a_loop,
    picture,
    run_ready_tasks,
    scripted_worker,
)


@on_a_loop
async def test_a_worker_that_ends_loses_nothing() -> None:
    """All that a worker had goes to the next first, what it ran as a suspect; the callers never hear of it."""
    async with scripted_worker() as harness:
        harness.attach(credits=4)
        calls = [harness.call(number) for number in range(8)]
        first = await harness.until_handed_over(4)
        harness.answer(first[1])
        await harness.until_handed_over(5)
        harness.start(first[0], first[2])
        harness.dispatcher.detach()
        await run_ready_tasks()
        harness.attach(credits=4)
        again = await harness.until_handed_over(4)
        assert {run.job for run in again} >= {run.job for run in first if run is not first[1]}
        assert {run.job for run in again if run.suspect} == {first[0].job, first[2].job}
        for index in range(7):
            harness.answer((await harness.until_handed_over(index + 1))[index])
        assert not any(run.suspect for run in harness.runs[4:])
        assert [(await call).logits[0] for call in calls] == list(range(8))


@on_a_loop
async def test_what_ends_two_workers_is_poison() -> None:
    """The image that both workers ran when they died is refused, then and later; all others are answered."""
    async with scripted_worker() as harness:
        harness.attach()
        calls = [harness.call(number) for number in range(4)]
        harness.start(*(await harness.until_handed_over(4))[:2])
        harness.dispatcher.detach()
        harness.attach()
        guilty, innocent = (run for run in await harness.until_handed_over(4) if run.suspect)
        harness.start(guilty)
        poison = harness.number_of(guilty)
        harness.dispatcher.detach()
        with pytest.raises(LostError, match="two workers"):
            await calls[poison]
        assert harness.blocked == [hashlib.sha256(picture(poison)).digest()] == list(harness.quarantine.blocked)
        harness.attach()
        runs = await harness.until_handed_over(3)
        assert [run.job for run in runs if run.suspect] == [innocent.job], "it has not run since it was suspected"
        for run in runs:
            harness.answer(run)
        others = [n for n in range(4) if n != poison]
        assert [(await calls[n]).logits[0] for n in others] == others
        with pytest.raises(InvalidRequestError, match="two workers"):
            await harness.call(poison)


@on_a_loop
async def test_copies_of_poison_end_no_more_workers() -> None:
    """An image sent many times at once is refused wherever its copies are when it is found; the others are answered."""
    async with scripted_worker() as harness:
        harness.attach(credits=4)
        copies = [harness.call(7) for _ in range(7)]
        innocent = harness.call(8)
        harness.start(*(await harness.until_handed_over(4))[:2])
        harness.dispatcher.detach()
        harness.attach(credits=4)
        harness.start((await harness.until_handed_over(4))[0])
        harness.dispatcher.detach()
        codes = [type(error) for error in await asyncio.gather(*copies, return_exceptions=True)]
        assert sorted(code.__name__ for code in codes) == ["InvalidRequestError"] * 6 + ["LostError"]
        harness.attach(credits=4)
        harness.answer((await harness.until_handed_over(1))[0])
        assert (await innocent).logits[0] == 8
        assert harness.dispatcher.in_service == 0


async def suspected(harness: ScriptedWorker, *, waits: bool) -> asyncio.Task[Answer]:
    """The worker has ended while it ran picture 7, whose caller still waits or has given up."""
    harness.attach()
    call = harness.call(7)
    harness.start(*(await harness.until_handed_over(1)))
    if not waits:
        await give_up(call)
    harness.dispatcher.detach()
    return call


@on_a_loop
async def test_callers_that_give_up_do_not_save_poison() -> None:
    """Nobody waited for the second run of an image, nor for its end: when it comes again it is a suspect still."""
    async with scripted_worker() as harness:
        await suspected(harness, waits=False)
        harness.attach()
        bystander = harness.call(8)
        call = harness.call(7)
        (again,) = (run for run in await harness.until_handed_over(2) if run.suspect)
        assert harness.number_of(again) == 7
        harness.start(again)
        await give_up(call)
        harness.dispatcher.detach()
        with pytest.raises(InvalidRequestError, match="two workers"):
            await harness.call(7)
        harness.attach()
        harness.answer((await harness.until_handed_over(1))[0])
        assert (await bystander).logits[0] == 8


@on_a_loop
async def test_a_suspect_that_is_answered_is_none_any_more() -> None:
    """Whether it is its own caller who waits or one who comes later."""
    async with scripted_worker() as harness:
        harness.attach()
        calls = [harness.call(7), harness.call(8)]
        harness.start(*(await harness.until_handed_over(2)))
        await give_up(calls[0])
        harness.dispatcher.detach()
        harness.attach()
        calls.append(harness.call(7))
        for run in await harness.until_handed_over(2):
            assert run.suspect
            harness.answer(run)
        assert [(await call).logits[0] for call in calls[1:]] == [8, 7]
        calls = [harness.call(7), harness.call(8)]
        assert not any(run.suspect for run in (await harness.until_handed_over(4))[2:])


@on_a_loop
async def test_what_waits_is_refused_when_another_frontend_finds_it_to_be_poison() -> None:
    """Before the next worker is there to be ended by it."""
    async with scripted_worker() as harness:
        harness.attach(credits=2)
        calls = [harness.call(7), harness.call(8), harness.call(7)]
        harness.start((await harness.until_handed_over(2))[1])
        harness.dispatcher.detach()
        harness.dispatcher.block([hashlib.sha256(picture(7)).digest()])
        for call in calls[::2]:
            with pytest.raises(InvalidRequestError, match="two workers"):
                await call
        harness.attach(credits=2)
        (run,) = await harness.until_handed_over(1)
        harness.answer(run)
        assert (await calls[1]).logits[0] == 8


@on_a_loop
async def test_what_another_frontend_found_to_be_poison_is_refused() -> None:
    """It never reaches a worker; what else comes does, and the list forgets its oldest."""
    async with scripted_worker() as harness:
        harness.attach()
        harness.dispatcher.block(number.to_bytes(32) for number in range(501))
        harness.dispatcher.block([hashlib.sha256(picture(7)).digest()])
        with pytest.raises(InvalidRequestError, match="two workers"):
            await harness.call(7)
        call = harness.call(8)
        harness.answer((await harness.until_handed_over(1))[0])
        assert (await call).logits[0] == 8 and len(harness.quarantine.blocked) == 500


@pytest.mark.parametrize("last", ["failed", "dropped", "given up"])
def test_only_a_run_makes_a_suspect_none(last: str) -> None:
    """A run that fails does; one that came too late to start, or a model that was given up, leaves it a suspect."""

    @on_a_loop
    async def test() -> None:
        async with scripted_worker() as harness:
            call = await suspected(harness, waits=last != "failed")
            if last == "given up":
                harness.dispatcher.fail("reason")
                harness.attach()
            else:
                harness.attach()
                call = harness.call(7) if last == "failed" else call
                (run,) = await harness.until_handed_over(1)
                failed = messages.Failed(run.job, "words")
                harness.dispatcher.on_message(failed if last == "failed" else messages.Dropped(run.job))
            with pytest.raises(ServiceError):
                await call
            harness.runs.clear()
            call = harness.call(7)
            (run,) = await harness.until_handed_over(1)
            assert run.suspect == (last != "failed")
            harness.answer(run)
            assert (await call).logits[0] == 7

    test()


@on_a_loop
async def test_what_is_being_decoded_when_it_is_found_is_refused(monkeypatch) -> None:
    """It does not reach a worker when it is decoded, and its slot comes back."""
    go_on = threading.Event()

    def slow_decode(*args, **options) -> None:
        go_on.wait(30)
        decode(*args, **options)

    monkeypatch.setattr("service.dispatch.inputs.decode", slow_decode)
    async with scripted_worker() as harness:
        harness.attach()
        call = harness.call(7)
        await run_ready_tasks()
        harness.dispatcher.block([hashlib.sha256(picture(7)).digest()])
        with pytest.raises(InvalidRequestError, match="two workers"):
            await call
        go_on.set()
        call = harness.call(8)
        (run,) = await harness.until_handed_over(1)
        harness.answer(run)
        assert (await call).logits[0] == 8 and harness.dispatcher.in_service == 0
