"""The dispatcher with a worker that the test plays: what is sent to it, and what becomes of the answers."""

import asyncio
import time

import pytest

from service.dispatch.admission import Policy
from service.errors import ExpiredError, InvalidRequestError, LostError, NotReadyError, OverloadedError
from service.images.threads import Decoders
from service.ipc import messages
from tests.support.scripted_worker import LARGE, SMALL, USUAL, on_a_loop, picture, run_ready_tasks, scripted_worker


@on_a_loop
async def test_each_caller_gets_the_answer_to_its_own_image() -> None:
    """Answers in any order go to whom they belong, and slots are used again without a mix-up."""
    async with scripted_worker() as harness:
        harness.attach()
        for start in range(0, 60, 5):
            calls = [harness.call(start + number) for number in range(5)]
            for run in reversed(await harness.until_handed_over(5)):
                harness.answer(run)
            assert [(await call).logits.tolist() for call in calls] == [[start + n] * 2 for n in range(5)]
            harness.runs.clear()
        assert harness.dispatcher.in_service == 0


@on_a_loop
async def test_no_more_is_decoded_than_the_worker_has_credits_for() -> None:
    """What waits beyond the credits waits undecoded; each answer lets the next one in."""
    async with scripted_worker() as harness:
        harness.attach(credits=3)
        calls = [harness.call(number) for number in range(8)]
        await harness.until_handed_over(3)
        await run_ready_tasks()
        assert len(harness.runs) == harness.dispatcher.in_service == 3
        for index in range(8):
            harness.answer((await harness.until_handed_over(index + 1))[index])
        assert len(await asyncio.gather(*calls)) == 8


@on_a_loop
async def test_small_images_need_no_thread(monkeypatch) -> None:
    """They are answered though no decoder thread lives; a line of a thousand broken ones is told so, one by one."""
    async with scripted_worker() as harness:
        monkeypatch.setattr(Decoders, "submit", lambda *_: pytest.fail("a thread was asked"))
        harness.attach(run=1e-6, credits=1)
        calls = [harness.call(number, side=SMALL) for number in range(3)]
        for index in range(3):
            harness.answer((await harness.until_handed_over(index + 1))[index])
        assert [(await call).logits[0] for call in calls] == [0, 1, 2]

        first = harness.call(7, side=SMALL)
        await run_ready_tasks()
        broken = [harness.send(picture(9, SMALL)[:-30]) for _ in range(1500)]
        await run_ready_tasks()
        harness.answer(harness.runs[-1])
        outcomes = await asyncio.gather(*broken, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {InvalidRequestError}
        assert (await first).logits[0] == 7 and harness.dispatcher.in_service == 0


@on_a_loop
async def test_a_photo_alone_needs_no_thread(monkeypatch) -> None:
    """It keeps nobody waiting; beside another, or where it is large, a thread decodes harness."""
    threaded = []
    submit = Decoders.submit
    monkeypatch.setattr(Decoders, "submit", lambda self, *work: (threaded.append(work), submit(self, *work)))
    async with scripted_worker() as harness:
        harness.attach()
        first = harness.call(1, side=USUAL)
        harness.answer((await harness.until_handed_over(1))[0])
        assert (await first).logits[0] == 1 and not threaded
        calls = [harness.call(number, side=USUAL) for number in (2, 3)]
        runs = await harness.until_handed_over(3)
        assert len(threaded) == 1
        for run in runs[1:]:
            harness.answer(run)
        assert [(await call).logits[0] for call in calls] == [2, 3]
        large = harness.call(4, side=LARGE)
        harness.answer((await harness.until_handed_over(4))[3])
        assert (await large).logits[0] == 4 and len(threaded) == 2


@on_a_loop
async def test_who_is_beside_the_device_is_not_overtaken() -> None:
    """Images are run in the order in which they were taken to be decoded, whatever comes later."""
    async with scripted_worker() as harness:
        harness.attach(credits=2)
        calls = [harness.call(0, within=60, level=-1)]
        (low,) = await harness.until_handed_over(1)
        calls.append(harness.call(1, within=5, level=1))
        _, high = await harness.until_handed_over(2)
        assert low.sort_key < high.sort_key
        for run in harness.runs:
            harness.answer(run)
        await asyncio.gather(*calls)


@on_a_loop
async def test_an_idle_device_tries_what_was_predicted_to_take_too_long() -> None:
    """After a slow spell the first image is run for all that, and so the service finds out that the spell is over."""
    async with scripted_worker() as harness:
        harness.attach(run=100.0)
        call = harness.call(1, within=5)
        (run,) = await harness.until_handed_over(1)
        assert run.deadline > time.monotonic()
        busy = harness.call(2, within=5)
        with pytest.raises(OverloadedError) as refused:
            await busy
        assert refused.value.reason == "deadline" and refused.value.retry_after >= 0
        harness.answer(run)
        assert (await call).batch == 1


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_caller_that_goes_does_not_spoil_the_others(which) -> None:
    """First, middle or last: the worker is told, and the neighbours get their answers; the slot comes back."""

    async def test() -> None:
        async with scripted_worker() as harness:
            harness.attach()
            calls = [harness.call(number) for number in range(3)]
            runs = await harness.until_handed_over(3)
            calls[which].cancel()
            await run_ready_tasks()
            gone = next(run for run in runs if (harness.slots.images[run.slot] == which).all())
            assert harness.cancels == [gone.job]
            for run in runs:
                if run is gone and which == 1:
                    harness.answer(run)  # it had started all the same
                elif run is gone:
                    harness.dispatcher.on_message(messages.Dropped(run.job))
                else:
                    harness.answer(run)
            rest = [call for number, call in enumerate(calls) if number != which]
            assert [(await call).logits[0] for call in rest] == [n for n in range(3) if n != which]
            assert harness.dispatcher.in_service == 0

    asyncio.run(test())


@on_a_loop
async def test_what_nobody_wants_is_not_run_again() -> None:
    """Images whose callers left while the worker was being replaced are not handed to the new one."""
    async with scripted_worker() as harness:
        harness.attach(credits=3)
        calls = [harness.call(number) for number in range(5)]
        await harness.until_handed_over(3)
        harness.dispatcher.detach()
        for call in calls[:4]:
            call.cancel()
        await run_ready_tasks()
        harness.attach(credits=3)
        (run,) = await harness.until_handed_over(1)
        await run_ready_tasks()
        assert len(harness.runs) == 1
        harness.answer(run)
        assert (await calls[4]).logits[0] == 4 and harness.dispatcher.in_service == 0


@on_a_loop
async def test_a_failed_run_fails_its_image_alone() -> None:
    """An error of the model is that image's; an image that could not start in time has expired."""
    async with scripted_worker() as harness:
        harness.attach()
        calls = [harness.call(number) for number in range(3)]
        runs = sorted(await harness.until_handed_over(3), key=lambda run: harness.number_of(run))
        harness.dispatcher.on_message(messages.Failed(runs[0].job, "Div: division by zero"))
        harness.dispatcher.on_message(messages.Dropped(runs[1].job))
        harness.answer(runs[2])
        with pytest.raises(LostError) as failed:
            await calls[0]
        with pytest.raises(ExpiredError):
            await calls[1]
        assert "Div" not in str(failed.value), "what the runtime says is for the log"
        assert (await calls[2]).logits[0] == 2


@on_a_loop
async def test_a_model_that_is_given_up_tells_all_who_wait() -> None:
    """When no worker will come, everyone gets the reason, newcomers too; a worker that comes after all is used."""
    async with scripted_worker() as harness:
        with pytest.raises(NotReadyError):
            await harness.call(0)
        harness.attach(credits=2)
        calls = [harness.call(number) for number in range(6)]
        await harness.until_handed_over(2)
        harness.dispatcher.detach()
        harness.dispatcher.fail("it is broken")
        for call in calls:
            with pytest.raises(NotReadyError, match="it is broken"):
                await call
        with pytest.raises(NotReadyError):
            await harness.call(7)
        harness.attach(credits=16)
        later = [harness.call(number) for number in range(16)]
        for run in await harness.until_handed_over(16):
            harness.answer(run)
        assert [(await call).logits[0] for call in later] == list(range(16)), "every slot came back"


@on_a_loop
async def test_memory_has_a_bound_and_a_reason() -> None:
    """Images beyond the bytes that may wait are refused, and not as if it were for time."""
    room = sum(len(picture(number)) for number in (1, 2, 3))
    async with scripted_worker(Policy(max_bytes=room)) as harness:
        harness.attach(credits=1)
        calls = [harness.call(number) for number in range(5)]
        await run_ready_tasks()
        with pytest.raises(OverloadedError) as refused:
            await calls[4]
        assert refused.value.reason == "memory"
        for index in range(4):
            harness.answer((await harness.until_handed_over(index + 1))[index])
        assert len(await asyncio.gather(*calls[:4])) == 4
