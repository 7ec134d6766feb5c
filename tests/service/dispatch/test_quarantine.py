"""What becomes of what a worker had when it ended: run again, suspected, or refused as poison."""

import asyncio
import hashlib
import threading

import pytest

from service.dispatch.job import Answer
from service.errors import InvalidRequestError, LostError, ServiceError
from service.images.decode import decode
from service.ipc import messages
from tests.support.scripted_worker import Play, gone, number_of, on_a_loop, picture, play, settle


@on_a_loop
async def test_a_worker_that_ends_loses_nothing() -> None:
    """All that a worker had goes to the next first, what it ran as a suspect; the callers never hear of it."""
    async with play() as it:
        it.connect(credits=4)
        calls = [it.call(number) for number in range(8)]
        first = await it.until_handed_over(4)
        it.answer(first[1])
        await it.until_handed_over(5)
        it.start(first[0], first[2])
        it.dispatcher.disconnect()
        await settle()
        it.connect(credits=4)
        again = await it.until_handed_over(4)
        assert {run.job for run in again} >= {run.job for run in first if run is not first[1]}
        assert {run.job for run in again if run.suspect} == {first[0].job, first[2].job}
        for index in range(7):
            it.answer((await it.until_handed_over(index + 1))[index])
        assert not any(run.suspect for run in it.runs[4:])
        assert [(await call).logits[0] for call in calls] == list(range(8))


@on_a_loop
async def test_what_ends_two_workers_is_poison() -> None:
    """The image that both workers ran when they died is refused, then and later; all others are answered."""
    async with play() as it:
        found = []
        it.dispatcher.poison.found = found.append
        it.connect()
        calls = [it.call(number) for number in range(4)]
        it.start(*(await it.until_handed_over(4))[:2])
        it.dispatcher.disconnect()
        it.connect()
        guilty, innocent = (run for run in await it.until_handed_over(4) if run.suspect)
        it.start(guilty)
        poison = number_of(it, guilty)
        it.dispatcher.disconnect()
        with pytest.raises(LostError, match="two workers"):
            await calls[poison]
        assert found == [hashlib.sha256(picture(poison)).digest()] == list(it.dispatcher.poison.digests)
        it.connect()
        runs = await it.until_handed_over(3)
        assert [run.job for run in runs if run.suspect] == [innocent.job], "it has not run since it was suspected"
        for run in runs:
            it.answer(run)
        others = [n for n in range(4) if n != poison]
        assert [(await calls[n]).logits[0] for n in others] == others
        with pytest.raises(InvalidRequestError, match="two workers"):
            await it.call(poison)


@on_a_loop
async def test_copies_of_poison_end_no_more_workers() -> None:
    """An image sent many times at once is refused wherever its copies are when it is found; the others are answered."""
    async with play() as it:
        it.connect(credits=4)
        copies = [it.call(7) for _ in range(7)]
        innocent = it.call(8)
        it.start(*(await it.until_handed_over(4))[:2])
        it.dispatcher.disconnect()
        it.connect(credits=4)
        it.start((await it.until_handed_over(4))[0])
        it.dispatcher.disconnect()
        codes = [type(error) for error in await asyncio.gather(*copies, return_exceptions=True)]
        assert sorted(code.__name__ for code in codes) == ["InvalidRequestError"] * 6 + ["LostError"]
        it.connect(credits=4)
        it.answer((await it.until_handed_over(1))[0])
        assert (await innocent).logits[0] == 8
        assert it.dispatcher.in_service == 0


async def suspected(it: Play, *, waits: bool) -> asyncio.Task[Answer]:
    """The worker has ended while it ran picture 7, whose caller still waits or has given up."""
    it.connect()
    call = it.call(7)
    it.start(*(await it.until_handed_over(1)))
    if not waits:
        await gone(call)
    it.dispatcher.disconnect()
    return call


@on_a_loop
async def test_callers_that_give_up_do_not_save_poison() -> None:
    """Nobody waited for the second run of an image, nor for its end: when it comes again it is a suspect still."""
    async with play() as it:
        await suspected(it, waits=False)
        it.connect()
        bystander = it.call(8)
        call = it.call(7)
        (again,) = (run for run in await it.until_handed_over(2) if run.suspect)
        assert number_of(it, again) == 7
        it.start(again)
        await gone(call)
        it.dispatcher.disconnect()
        with pytest.raises(InvalidRequestError, match="two workers"):
            await it.call(7)
        it.connect()
        it.answer((await it.until_handed_over(1))[0])
        assert (await bystander).logits[0] == 8


@on_a_loop
async def test_a_suspect_that_is_answered_is_none_any_more() -> None:
    """Whether it is its own caller who waits or one who comes later."""
    async with play() as it:
        it.connect()
        calls = [it.call(7), it.call(8)]
        it.start(*(await it.until_handed_over(2)))
        await gone(calls[0])
        it.dispatcher.disconnect()
        it.connect()
        calls.append(it.call(7))
        for run in await it.until_handed_over(2):
            assert run.suspect
            it.answer(run)
        assert [(await call).logits[0] for call in calls[1:]] == [8, 7]
        calls = [it.call(7), it.call(8)]
        assert not any(run.suspect for run in (await it.until_handed_over(4))[2:])


@on_a_loop
async def test_what_waits_is_refused_when_another_frontend_finds_it_to_be_poison() -> None:
    """Before the next worker is there to be ended by it."""
    async with play() as it:
        it.connect(credits=2)
        calls = [it.call(7), it.call(8), it.call(7)]
        it.start((await it.until_handed_over(2))[1])
        it.dispatcher.disconnect()
        it.dispatcher.refuse([hashlib.sha256(picture(7)).digest()])
        for call in calls[::2]:
            with pytest.raises(InvalidRequestError, match="two workers"):
                await call
        it.connect(credits=2)
        (run,) = await it.until_handed_over(1)
        it.answer(run)
        assert (await calls[1]).logits[0] == 8


@on_a_loop
async def test_what_another_frontend_found_to_be_poison_is_refused() -> None:
    """It never reaches a worker; what else comes does, and the list forgets its oldest."""
    async with play() as it:
        it.connect()
        it.dispatcher.refuse(number.to_bytes(32) for number in range(501))
        it.dispatcher.refuse([hashlib.sha256(picture(7)).digest()])
        with pytest.raises(InvalidRequestError, match="two workers"):
            await it.call(7)
        call = it.call(8)
        it.answer((await it.until_handed_over(1))[0])
        assert (await call).logits[0] == 8 and len(it.dispatcher.poison.digests) == 500


@pytest.mark.parametrize("last", ["failed", "dropped", "given up"])
def test_only_a_run_makes_a_suspect_none(last: str) -> None:
    """A run that fails does; one that came too late to start, or a model that was given up, leaves it a suspect."""

    @on_a_loop
    async def test() -> None:
        async with play() as it:
            call = await suspected(it, waits=last != "failed")
            if last == "given up":
                it.dispatcher.fail("reason")
                it.connect()
            else:
                it.connect()
                call = it.call(7) if last == "failed" else call
                (run,) = await it.until_handed_over(1)
                failed = messages.Text({"failed": run.job, "error": "words"})
                it.dispatcher.heard(failed if last == "failed" else messages.Dropped(run.job))
            with pytest.raises(ServiceError):
                await call
            it.runs.clear()
            call = it.call(7)
            (run,) = await it.until_handed_over(1)
            assert run.suspect == (last != "failed")
            it.answer(run)
            assert (await call).logits[0] == 7

    test()


@on_a_loop
async def test_what_is_being_decoded_when_it_is_found_is_refused(monkeypatch) -> None:
    """It does not reach a worker when it is decoded, and its slot comes back."""
    go_on = threading.Event()

    def slow_decode(*args, **options) -> None:
        go_on.wait(30)
        decode(*args, **options)

    monkeypatch.setattr("service.dispatch.dispatcher.decode", slow_decode)
    async with play() as it:
        it.connect()
        call = it.call(7)
        await settle()
        it.dispatcher.refuse([hashlib.sha256(picture(7)).digest()])
        with pytest.raises(InvalidRequestError, match="two workers"):
            await call
        go_on.set()
        call = it.call(8)
        (run,) = await it.until_handed_over(1)
        it.answer(run)
        assert (await call).logits[0] == 8 and it.dispatcher.in_service == 0
