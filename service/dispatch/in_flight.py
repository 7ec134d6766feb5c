"""The work that a worker has: handed over, answered, and brought back when the worker ends."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from service.dispatch.job import Answer, ImageJob, Stage
from service.ipc.messages import Cancel, Done, Message, Run
from service.ipc.slots import Slots
from service.latency import LatencyModel
from service.telemetry.metrics import ModelMetrics


@dataclass(slots=True)
class AttachedWorker:
    """A worker as a dispatcher sees it. After it has ended its predictions stand until the next one is attached.

    Attributes:
        send: takes messages to it.
        latency: predictions of its answers.
        credits: images that it takes ahead.
        metrics: of what it runs.
        is_connected: it has not ended.
    """

    send: Callable[[Message], None]
    latency: LatencyModel
    credits: int
    metrics: ModelMetrics
    is_connected: bool = True

    def observe(self, done: Done) -> None:
        """Learn and count from an answer; runs are counted by the first of their batch, images by every one."""
        self.metrics.images.inc()
        if done.first:
            self.latency.observe_run(done.batch, done.ended - done.started, done.solo)
            self.metrics.batch.observe(done.batch)
            if done.new_shape:
                self.metrics.new_shapes.inc()


class InFlight:
    """Images that are with the worker, and those that wait for the next one because their worker has ended."""

    def __init__(self, slots: Slots) -> None:
        """Start with none; `slots` hold the pixels."""
        self._slots = slots
        self._running: dict[int, ImageJob] = {}
        self._returned: deque[ImageJob] = deque()

    @property
    def is_running(self) -> bool:
        """Whether a worker has anything to do."""
        return bool(self._running)

    @property
    def returned(self) -> deque[ImageJob]:
        """Images whose worker has ended: they go to the next worker first."""
        return self._returned

    def hand_over(self, job: ImageJob, worker: AttachedWorker, *, solo: bool) -> None:
        """Have the worker run an image; `solo`: nothing else is decoding or waiting."""
        job.stage = Stage.RUNNING
        self._running[job.number] = job
        self._slots.started[job.slot] = False
        # In the order in which they were taken: an image that waits beside the device is not overtaken any more.
        worker.send(Run(job.number, job.slot, job.decode_started, job.deadline, solo, job.suspect))

    def cancel(self, job: ImageJob, worker: AttachedWorker) -> None:
        """Tell the worker that an image is not wanted any more."""
        if job.stage is Stage.RUNNING and worker.is_connected:
            worker.send(Cancel(job.number))

    def finish(self, done: Done) -> ImageJob | None:
        """Give an image's logits to its caller; the job, or None where it is not known."""
        job = self.take(done.job)
        if job and not job.answer.done():
            logits = self._slots.logits[job.slot].copy()
            job.answer.set_result(
                Answer(logits, job.decode_started, job.decode_ended, done.started, done.ended, done.batch)
            )
        return job

    def take(self, number: int) -> ImageJob | None:
        """Take out an image that the worker has answered; None where it is not known."""
        return self._running.pop(number, None)

    def take_back(self) -> list[ImageJob]:
        """Bring everything back from a worker that has ended; those images that it was running."""
        started = []
        for job in self._running.values():
            job.stage = Stage.DECODED
            if self._slots.started[job.slot]:
                started.append(job)
            self._returned.append(job)
        self._running.clear()
        return started
