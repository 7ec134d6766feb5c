"""The dispatcher with a worker that the test plays: what is sent to it, and what becomes of the answers."""

import asyncio
import time

import pytest

from service.dispatch.admission import Policy
from service.errors import ExpiredError, InvalidRequestError, LostError, NotReadyError, OverloadedError
from service.images.threads import Decoders
from service.ipc import messages
from tests.support.scripted_worker import number_of, on_a_loop, picture, play, settle


@on_a_loop
async def test_each_caller_gets_the_answer_to_its_own_image() -> None:
    """Answers in any order go to whom they belong, and slots are used again without a mix-up."""
    async with play() as it:
        it.connect()
        for start in range(0, 60, 5):
            calls = [it.call(start + number) for number in range(5)]
            for run in reversed(await it.until_handed_over(5)):
                it.answer(run)
            assert [(await call).logits.tolist() for call in calls] == [[start + n] * 2 for n in range(5)]
            it.runs.clear()
        assert it.dispatcher.in_service == 0


@on_a_loop
async def test_no_more_is_decoded_than_the_worker_has_credits_for() -> None:
    """What waits beyond the credits waits undecoded; each answer lets the next one in."""
    async with play() as it:
        it.connect(credits=3)
        calls = [it.call(number) for number in range(8)]
        await it.until_handed_over(3)
        await settle()
        assert len(it.runs) == it.dispatcher.in_service == 3
        for index in range(8):
            it.answer((await it.until_handed_over(index + 1))[index])
        assert len(await asyncio.gather(*calls)) == 8


@on_a_loop
async def test_small_images_need_no_thread(monkeypatch) -> None:
    """They are answered though no decoder thread lives; a line of a thousand broken ones is told so, one by one."""
    async with play() as it:
        monkeypatch.setattr(Decoders, "submit", lambda *_: pytest.fail("a thread was asked"))
        it.connect(run=1e-6, credits=1)
        calls = [it.call(number, pixels=16) for number in range(3)]
        for index in range(3):
            it.answer((await it.until_handed_over(index + 1))[index])
        assert [(await call).logits[0] for call in calls] == [0, 1, 2]

        first = it.call(7, pixels=16)
        await settle()
        deadline = time.monotonic() + 60
        broken = [
            asyncio.create_task(it.dispatcher.classify(picture(9)[:40], 16, client="a", deadline=deadline, level=0))
            for _ in range(1500)
        ]
        await settle()
        it.answer(it.runs[-1])
        outcomes = await asyncio.gather(*broken, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {InvalidRequestError}
        assert (await first).logits[0] == 7 and it.dispatcher.in_service == 0


@on_a_loop
async def test_a_photo_alone_needs_no_thread(monkeypatch) -> None:
    """It keeps nobody waiting; beside another, or where it is large, a thread decodes it."""
    threaded = []
    submit = Decoders.submit
    monkeypatch.setattr(Decoders, "submit", lambda self, *work: (threaded.append(work), submit(self, *work)))
    async with play() as it:
        it.connect()
        first = it.call(1, pixels=500 * 375)
        it.answer((await it.until_handed_over(1))[0])
        assert (await first).logits[0] == 1 and not threaded
        calls = [it.call(number, pixels=500 * 375) for number in (2, 3)]
        runs = await it.until_handed_over(3)
        assert len(threaded) == 1
        for run in runs[1:]:
            it.answer(run)
        assert [(await call).logits[0] for call in calls] == [2, 3]
        large = it.call(4, pixels=10**6)
        it.answer((await it.until_handed_over(4))[3])
        assert (await large).logits[0] == 4 and len(threaded) == 2


@on_a_loop
async def test_who_is_beside_the_device_is_not_overtaken() -> None:
    """Images are run in the order in which they were taken to be decoded, whatever comes later."""
    async with play() as it:
        it.connect(credits=2)
        calls = [it.call(0, within=60, level=-1)]
        (low,) = await it.until_handed_over(1)
        calls.append(it.call(1, within=5, level=1))
        _, high = await it.until_handed_over(2)
        assert low.key < high.key
        for run in it.runs:
            it.answer(run)
        await asyncio.gather(*calls)


@on_a_loop
async def test_an_idle_device_tries_what_was_predicted_to_take_too_long() -> None:
    """After a slow spell the first image is run for all that, and so the service finds out that the spell is over."""
    async with play() as it:
        it.connect(run=100.0)
        call = it.call(1, within=5)
        (run,) = await it.until_handed_over(1)
        assert run.deadline > time.monotonic()
        busy = it.call(2, within=5)
        with pytest.raises(OverloadedError) as refused:
            await busy
        assert refused.value.reason == "deadline" and refused.value.retry_after >= 0
        it.answer(run)
        assert (await call).batch == 1


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_caller_that_goes_does_not_spoil_the_others(which) -> None:
    """First, middle or last: the worker is told, and the neighbours get their answers; the slot comes back."""

    async def test() -> None:
        async with play() as it:
            it.connect()
            calls = [it.call(number) for number in range(3)]
            runs = await it.until_handed_over(3)
            calls[which].cancel()
            await settle()
            gone = next(run for run in runs if (it.slots.images[run.slot] == which).all())
            assert it.cancels == [gone.job]
            for run in runs:
                if run is gone and which == 1:
                    it.answer(run)  # it had started all the same
                elif run is gone:
                    it.dispatcher.heard(messages.Dropped(run.job))
                else:
                    it.answer(run)
            rest = [call for number, call in enumerate(calls) if number != which]
            assert [(await call).logits[0] for call in rest] == [n for n in range(3) if n != which]
            assert it.dispatcher.in_service == 0

    asyncio.run(test())


@on_a_loop
async def test_what_nobody_wants_is_not_run_again() -> None:
    """Images whose callers left while the worker was being replaced are not handed to the new one."""
    async with play() as it:
        it.connect(credits=3)
        calls = [it.call(number) for number in range(5)]
        await it.until_handed_over(3)
        it.dispatcher.disconnect()
        for call in calls[:4]:
            call.cancel()
        await settle()
        it.connect(credits=3)
        (run,) = await it.until_handed_over(1)
        await settle()
        assert len(it.runs) == 1
        it.answer(run)
        assert (await calls[4]).logits[0] == 4 and it.dispatcher.in_service == 0


@on_a_loop
async def test_a_run_far_longer_than_predicted_hangs() -> None:
    """After ten seconds, or thirty times its prediction where that is longer; nothing hangs that was never ready."""
    async with play() as it:
        assert not it.dispatcher.stalled(1e9)
        it.connect(run=0.1)
        assert not it.dispatcher.stalled(9.9) and it.dispatcher.stalled(10.1)
        it.dispatcher.fail("another worker comes")
        it.connect(run=1.0)
        assert not it.dispatcher.stalled(29.9) and it.dispatcher.stalled(30.1)


@on_a_loop
async def test_a_failed_run_fails_its_image_alone() -> None:
    """An error of the model is that image's; an image that could not start in time has expired."""
    async with play() as it:
        it.connect()
        calls = [it.call(number) for number in range(3)]
        runs = sorted(await it.until_handed_over(3), key=lambda run: number_of(it, run))
        it.dispatcher.heard(messages.Text({"failed": runs[0].job, "error": "Div: division by zero"}))
        it.dispatcher.heard(messages.Dropped(runs[1].job))
        it.answer(runs[2])
        with pytest.raises(LostError) as failed:
            await calls[0]
        with pytest.raises(ExpiredError):
            await calls[1]
        assert "Div" not in str(failed.value), "what the runtime says is for the log"
        assert (await calls[2]).logits[0] == 2


@on_a_loop
async def test_a_model_that_is_given_up_tells_all_who_wait() -> None:
    """When no worker will come, everyone gets the reason, newcomers too; a worker that comes after all is used."""
    async with play() as it:
        with pytest.raises(NotReadyError):
            await it.call(0)
        it.connect(credits=2)
        calls = [it.call(number) for number in range(6)]
        await it.until_handed_over(2)
        it.dispatcher.disconnect()
        it.dispatcher.fail("it is broken")
        for call in calls:
            with pytest.raises(NotReadyError, match="it is broken"):
                await call
        with pytest.raises(NotReadyError):
            await it.call(7)
        it.connect(credits=16)
        later = [it.call(number) for number in range(16)]
        for run in await it.until_handed_over(16):
            it.answer(run)
        assert [(await call).logits[0] for call in later] == list(range(16)), "every slot came back"


@on_a_loop
async def test_memory_has_a_bound_and_a_reason() -> None:
    """Images beyond the bytes that may wait are refused, and not as if it were for time."""
    room = sum(len(picture(number)) for number in (1, 2, 3))
    async with play(Policy(max_bytes=room)) as it:
        it.connect(credits=1)
        calls = [it.call(number) for number in range(5)]
        await settle()
        with pytest.raises(OverloadedError) as refused:
            await calls[4]
        assert refused.value.reason == "memory"
        for index in range(4):
            it.answer((await it.until_handed_over(index + 1))[index])
        assert len(await asyncio.gather(*calls[:4])) == 4
