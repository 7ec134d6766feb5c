"""The stage before the worker: images that are being decoded into slots, and those that wait to be handed over."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from service.dispatch.job import ImageJob, Stage
from service.images.threads import Decoders
from service.ipc.slots import Slots

OnEnd = Callable[[ImageJob, Exception | None], None]


class DecodingStage:
    """Decodes images, at once or in a thread, and hands out the slots that they are decoded into.

    Attributes:
        decoded: images that wait to be handed over, in the order in which they were decoded.
    """

    def __init__(self, slots: Slots, decoders: Decoders, on_end: OnEnd, on_progress: Callable[[], None]) -> None:
        """Start with none.

        Args:
            slots: shared with the worker.
            decoders: threads.
            on_end: called with each image that was decoded, and the exception that this raised, or None.
            on_progress: called after that where a thread decoded it.
        """
        self.decoded: deque[ImageJob] = deque()
        self._slots, self._decoders = slots, decoders
        self._on_end, self._on_progress = on_end, on_progress
        self._decoding: set[ImageJob] = set()
        self._free = list(range(slots.count))

    @property
    def in_service(self) -> int:
        """Images that hold a slot: from the start of their decoding to the end of their run."""
        return self._slots.count - len(self._free)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being decoded or waits to be handed over."""
        return not (self._decoding or self.decoded)

    def __iter__(self) -> Iterator[ImageJob]:
        yield from self._decoding
        yield from self.decoded

    def start(self, job: ImageJob, *, alone: bool) -> None:
        """Decode an image; `alone`: nothing else waits for the event loop."""
        job.stage = Stage.DECODING
        job.slot = self._free.pop()
        self._decoding.add(job)
        if job.input.is_quick(alone=alone):
            self._end(job, self._decode(job))
        else:
            self._decoders.submit(partial(self._decode, job), partial(self._end_in_thread, job))

    def release(self, job: ImageJob) -> None:
        """Take back the slot of a job that is over: the one place where that happens."""
        job.stage = Stage.OVER
        self._free.append(job.slot)

    def _decode(self, job: ImageJob) -> Exception | None:
        job.decode_started = time.monotonic()
        try:
            job.mended = job.input.write(self._slots.images[job.slot])
        except Exception as error:
            # The traceback refers to this frame, and with it to the job that is told: neither would be freed.
            return error.with_traceback(None)
        job.decode_ended = time.monotonic()
        return None

    def _end(self, job: ImageJob, error: Exception | None) -> None:
        self._decoding.discard(job)
        self._on_end(job, error)

    def _end_in_thread(self, job: ImageJob, error: Exception | None) -> None:
        self._end(job, error)
        self._on_progress()
