"""One image between its arrival and its answer."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from service.dispatch.admission import Job
from service.dispatch.inputs import Input
from service.errors import ServiceError


class Stage(Enum):
    """Where an image is; it goes from one to the next, and from RUNNING back to DECODED when its worker ends."""

    QUEUED = auto()
    DECODING = auto()
    DECODED = auto()
    RUNNING = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """One image's logits, float32 [classes], and when each stage began and ended, on the monotonic clock."""

    logits: NDArray[np.float32]
    decode_started: float
    decode_ended: float
    run_started: float
    run_ended: float
    batch: int


@dataclass(eq=False, slots=True, kw_only=True)
class ImageJob(Job):
    """An image on its way.

    Attributes:
        input: the image.
        answer: of whoever waits for it.
        stage: where it is.
        slot: that holds its pixels, from DECODING to OVER.
        suspect: a worker has ended while it ran.
        mended: its file lacked its end, and was decoded whole all the same.
    """

    input: Input
    answer: asyncio.Future[Answer]
    stage: Stage = Stage.QUEUED
    slot: int = -1
    decode_started: float = 0.0
    decode_ended: float = 0.0
    suspect: bool = False
    mended: bool = False

    def fail(self, error: ServiceError) -> None:
        """Tell the caller that there will be no answer; the job leaves its stage when it is next looked at."""
        self.cancelled = True
        if not self.answer.done():
            self.answer.set_exception(error)
