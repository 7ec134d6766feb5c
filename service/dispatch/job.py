"""One image between its arrival and its answer."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.dispatch.admission import Job
from service.errors import ServiceError


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
    """An image on its way; a suspect once a worker has ended while it ran."""

    data: bytes
    pixels: int
    answer: asyncio.Future[Answer]
    slot: int = -1
    decode_started: float = 0.0
    decode_ended: float = 0.0
    suspect: bool = False


def fail(job: Job, error: ServiceError) -> None:
    """Tell whoever waits for an image that it will not be answered."""
    assert isinstance(job, ImageJob)
    job.cancelled = True
    if not job.answer.done():
        job.answer.set_exception(error)
