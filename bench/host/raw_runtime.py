"""What the machine can do with no server at all: the yardsticks of every ratio, measured in a process of their own."""

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from resserve.files import MODEL
from resserve.manifest import InputSpec, read_manifest

_RAW_BATCH = 8
_WARMUP_RUNS = 2


@dataclass(frozen=True)
class Reference:
    """One measurement of the yardsticks; seconds per image, on this machine's cores.

    Attributes:
        cores: that this process may use.
        raw: images per second of plain ONNX Runtime: batch 8, all threads, images decoded beforehand.
        decode: one decode on each core, all cores at it at once.
        model: one image on a session of one thread, one on each core at once.
        decode_alone: one decode while the machine does nothing else.
        model_alone: one image on a session of all threads while the machine does nothing else.
    """

    cores: int
    raw: float
    decode: float
    model: float
    decode_alone: float
    model_alone: float

    @property
    def ideal_throughput(self) -> float:
        """Images per second if decoding and the model were all that the cores had to do.

        The times are those with every core busy: cores share caches, memory and clock, and one core's time alone,
        times the number of cores, is a rate that no machine reaches.
        """
        return self.cores / (self.decode + self.model)

    @property
    def ideal_one_caller(self) -> float:
        """Images per second for a single caller: a decode, then the model on all cores."""
        return 1 / (self.decode_alone + self.model_alone)


def reference(directory: Path, images: Sequence[bytes], seconds: float = 4.0) -> Reference:
    """Measure in a fresh process, each part for some `seconds`, and end the process.

    Args:
        directory: of the model version.
        images: JPEG files.
        seconds: for each of the five parts.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_measure, directory, list(images), seconds).result()


def decode(data: bytes, spec: InputSpec) -> NDArray[np.uint8]:
    """A JPEG file as the model's input, by the fastest way whose pixels agree with training's: uint8 [H, W, 3].

    libjpeg-turbo decodes; Pillow resizes only the part that the centre crop keeps. Pixels differ from a resize of
    the whole picture by at most 1 in 255, in about 0.1 % of them.
    """
    pixels = simplejpeg.decode_jpeg(data)
    height, width = pixels.shape[:2]
    short = min(height, width)
    rows, columns = int(spec.resize * height / short), int(spec.resize * width / short)
    top, left = round((rows - spec.height) / 2), round((columns - spec.width) / 2)
    y, x = height / rows, width / columns
    box = (left * x, top * y, (left + spec.width) * x, (top + spec.height) * y)
    size = (spec.width, spec.height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling[spec.interpolation.upper()], box=box))


def _measure(directory: Path, images: list[bytes], seconds: float) -> Reference:
    _keep_heap()
    cores = len(os.sched_getaffinity(0))
    spec = read_manifest(directory).input
    pictures = [decode(image, spec)[None] for image in images]
    batch = np.concatenate([pictures[i % len(pictures)] for i in range(_RAW_BATCH)])

    def decoding(i: int) -> object:
        return decode(images[i % len(images)], spec)

    decode_alone = _seconds_each(decoding, 1, seconds / 2)
    decode_busy = _seconds_each(decoding, cores, seconds / 2)
    run = _runner(directory, threads=cores)
    raw = _RAW_BATCH / _seconds_each(lambda _: run(batch), 1, seconds)
    model_alone = _seconds_each(lambda i: run(pictures[i % len(pictures)]), 1, seconds)
    lane = _runner(directory, threads=1)
    model_busy = _seconds_each(lambda i: lane(pictures[i % len(pictures)]), cores, seconds)
    return Reference(
        cores=cores,
        raw=raw,
        decode=decode_busy,
        model=model_busy,
        decode_alone=decode_alone,
        model_alone=model_alone,
    )


def _runner(directory: Path, threads: int) -> Callable[[NDArray[np.uint8]], object]:
    """Runs a batch, uint8 [N, H, W, 3], on a session of its own."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(directory / MODEL), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def _seconds_each(work: Callable[[int], object], threads: int, seconds: float) -> float:
    """The mean time of one piece of work while that many threads do it side by side."""

    def repeat(first: int) -> tuple[int, float]:
        for run in range(_WARMUP_RUNS):
            work(first + run)
        begun, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begun) < seconds:
            work(first + done)
            done += 1
        return done, elapsed

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(repeat, range(0, 7 * threads, 7)))
    return float(np.mean([elapsed / done for done, elapsed in parts]))


def _keep_heap() -> None:
    """Have glibc keep freed memory: page faults would add up to a millisecond to each decode."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3  # malloc.h
        mallopt(m_mmap_threshold, 32 * 2**20)
        mallopt(m_trim_threshold, 512 * 2**20)
        mallopt(m_top_pad, 16 * 2**20)
