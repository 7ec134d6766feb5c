"""From a version on disk to an engine that was seen to answer as PyTorch did."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resserve.errors import ResServeError
from resserve.golden import hold
from service.worker import cache
from service.worker.engine import CPU, CUDA, Engine, cuda_problem, optimise
from service.worker.plan import CPU_BATCHES, GPU_MAX_BATCH, LONGEST_SECONDS, Measured, Plan, cores, measure

MODEL = "model.onnx"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to load; it comes from the frontend as JSON.

    Attributes:
        directory: of the version.
        files: name to SHA-256, of every file.
        device: "auto", "cpu" or "cuda".
        precision: of the weights.
        height, width: pixels of the input.
        tolerance, min_agreement: bounds of the golden replay.
        lanes, max_batch: the operator's plan; 0 leaves it to measuring.
    """

    directory: str
    files: dict[str, str]
    device: str
    precision: str
    height: int
    width: int
    tolerance: float
    min_agreement: float
    lanes: int = 0
    max_batch: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine that is ready, and how fast it was measured to be."""

    engine: Engine
    measured: Measured


def load(order: Order) -> Loaded:
    """Check the digests, load the model on its device and replay the golden images there.

    Raises:
        ResServeError: a digest differs, the device is not to be had, or the answers drift.
    """
    with ThreadPoolExecutor(len(order.files) + 1) as pool:
        problem = cuda_problem() if order.device != "cpu" else None
        if order.device == "cuda" and problem:
            raise ResServeError(f"CUDA was asked for, but {problem}.")
        if order.device == "cpu" or problem:
            return _on_cpu(order, pool)
        try:
            return _while_checking(order, pool, list(order.files), lambda _: _on_cuda(order))
        except ResServeError:
            if order.device == "cuda":
                raise
            return _on_cpu(order, pool)


def _while_checking(
    order: Order, pool: ThreadPoolExecutor, names: list[str], make: Callable[[Callable[[], None]], Loaded]
) -> Loaded:
    """What `make` makes while the digests of these files are checked; it is handed what waits for them."""
    checks = [pool.submit(_check_digest, Path(order.directory) / name, order.files[name]) for name in names]

    def verified() -> None:
        for check in checks:
            check.result()

    try:
        loaded = make(verified)
    except Exception:
        verified()  # that a file was altered is the reason, whatever it led to
        raise
    verified()
    return loaded


def _check_digest(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResServeError(f"{path} cannot be read ({error.strerror}); export the model again.") from None
    if digest != expected:
        raise ResServeError(f"{path} was altered: its SHA-256 is not the manifest's; export the model again.")


def _on_cuda(order: Order) -> Loaded:
    plan = Plan(order.lanes or 2, order.max_batch or GPU_MAX_BATCH, solo_threads=0, fixed=True)
    engine = Engine(Path(order.directory) / MODEL, plan, provider=CUDA, precision=order.precision, optimised=False)
    _replay(engine, order)
    # Measuring runs every size of batch, so no caller meets a shape the runtime has not seen.
    return Loaded(engine, measure(engine.run, order.height, order.width, plan.lanes, plan.sizes))


def _on_cpu(order: Order, pool: ThreadPoolExecutor) -> Loaded:
    folder = cache.cache_folder(Path(order.directory), order.files[MODEL], CPU)
    if (cached := cache.read(folder)) and (loaded := _from_cache(order, pool, cached)):
        return loaded
    stamp = cache.fingerprint(Path(order.directory) / MODEL)
    return _while_checking(order, pool, list(order.files), lambda verified: _build(order, folder, stamp, verified))


def _from_cache(order: Order, pool: ThreadPoolExecutor, cached: cache.Cached) -> Loaded | None:
    """The optimised model; None when it turns out to have been altered."""
    unaltered = pool.submit(cached.is_unaltered)
    # The original is not what runs: its digest, checked when the copy was made, stands until it is written again.
    current = cached.is_made_from(Path(order.directory) / MODEL)
    names = [name for name in order.files if name != MODEL or not current]

    def make(_: Callable[[], None]) -> Loaded:
        plan = _as_ordered(cached.plan, order)
        engine = Engine(cached.model, plan, provider=CPU, precision=order.precision, optimised=True)
        # The sealed file was replayed whole on this processor by this runtime: one image a session shows that it is
        # the same still, and warms both.
        _replay(engine, order, images=1)
        return Loaded(engine, cached.measured)

    try:
        loaded = _while_checking(order, pool, names, make)
    except ResServeError:
        if unaltered.result():
            raise
        return None
    return loaded if unaltered.result() else None


def _build(order: Order, folder: Path, stamp: list[int] | None, verified: Callable[[], None]) -> Loaded:
    """Optimise, measure and seal."""
    verified()  # or what was altered would be sealed as if it were the original
    with cache.temporary_folder(folder) as temporary:
        model = Path(order.directory) / MODEL
        if temporary:
            optimise(model, CPU, temporary / cache.MODEL)
            model = temporary / cache.MODEL
        first = Plan(cores(), max_batch=1, solo_threads=cores() if cores() > 1 else 0)
        engine = Engine(model, first, provider=CPU, precision=order.precision, optimised=temporary is not None)
        _replay(engine, order)
        measured = measure(engine.run, order.height, order.width, first.lanes, CPU_BATCHES, LONGEST_SECONDS)
        plan = Plan(first.lanes, measured.best_batch, first.solo_threads)
        engine.plan = _as_ordered(plan, order)
        if temporary:
            cache.write_seal(temporary, folder, stamp, plan, measured)
    return Loaded(engine, measured)


def _as_ordered(plan: Plan, order: Order) -> Plan:
    return Plan(order.lanes or plan.lanes, order.max_batch or plan.max_batch, plan.solo_threads, plan.fixed)


def _replay(engine: Engine, order: Order, images: int | None = None) -> None:
    """Hold every session's answers on the golden images, or the first few of them, against PyTorch's."""
    with np.load(Path(order.directory) / "golden.npz") as golden:
        pixels, expected = golden["images"][:images], golden["logits"][:images]
    for solo in (False, True) if engine.plan.solo_threads else (False,):
        logits = np.concatenate([engine.run(pixels[index : index + 1], solo) for index in range(len(pixels))])
        hold(
            logits,
            expected,
            tolerance=order.tolerance,
            min_agreement=order.min_agreement,
            where=engine.provider,
        )
