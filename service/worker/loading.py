"""From a version on disk to an engine that was seen to answer as PyTorch did."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from resserve.cores import usable_cores
from resserve.errors import ResServeError
from resserve.files import GOLDEN, MODEL, check_digest
from resserve.golden import hold
from service.ipc.messages import Load
from service.worker import cache
from service.worker.engine import CPU, CUDA, Engine, cuda_problem, optimise
from service.worker.plan import CPU_BATCHES, GPU_MAX_BATCH, LONGEST_SECONDS, Measured, Plan, measure, measure_solo


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine that is ready, and how fast it was measured to be."""

    engine: Engine
    measured: Measured


def load(request: Load) -> LoadedEngine:
    """Check the digests, load the model on its device and replay the golden images there.

    Raises:
        ResServeError: a digest differs, the device is not to be had, or the answers drift.
    """
    with ThreadPoolExecutor(len(request.files) + 1) as pool:
        problem = cuda_problem() if request.device != "cpu" else None
        if request.device == "cuda" and problem:
            raise ResServeError(f"CUDA was asked for, but {problem}.")
        if request.device == "cpu" or problem:
            return _on_cpu(request, pool)
        try:
            return _while_checking(request, pool, list(request.files), lambda _: _on_cuda(request))
        except ResServeError:
            if request.device == "cuda":
                raise
            return _on_cpu(request, pool)


def _while_checking(
    request: Load, pool: ThreadPoolExecutor, names: list[str], make: Callable[[Callable[[], None]], LoadedEngine]
) -> LoadedEngine:
    """What `make` makes while the digests of these files are checked; it is handed what waits for them."""
    checks = [pool.submit(check_digest, Path(request.directory) / name, request.files[name]) for name in names]

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


def _on_cuda(request: Load) -> LoadedEngine:
    plan = Plan(request.lanes or 2, request.max_batch or GPU_MAX_BATCH, solo_threads=0, fixed=True)
    engine = Engine(Path(request.directory) / MODEL, plan, provider=CUDA, precision=request.precision, optimised=False)
    _replay(engine, request)
    # Measuring runs every size of batch, so no caller meets a shape the runtime has not seen.
    return LoadedEngine(engine, measure(engine.run, request.height, request.width, plan.lanes, plan.sizes))


def _on_cpu(request: Load, pool: ThreadPoolExecutor) -> LoadedEngine:
    folder = cache.cache_folder(Path(request.directory), request.files[MODEL], CPU)
    if (cached := cache.read(folder)) and (loaded := _from_cache(request, pool, cached)):
        return loaded
    source = cache.fingerprint(Path(request.directory) / MODEL)
    build = partial(_build, request, folder, source)
    return _while_checking(request, pool, list(request.files), build)


def _from_cache(request: Load, pool: ThreadPoolExecutor, cached: cache.Cached) -> LoadedEngine | None:
    """The optimised model; None when it turns out to have been altered."""
    unaltered = pool.submit(cached.is_unaltered)
    # The original is not what runs: its digest, checked when the copy was made, stands until it is written again.
    current = cached.is_made_from(Path(request.directory) / MODEL)
    names = [name for name in request.files if name != MODEL or not current]

    def make(_: Callable[[], None]) -> LoadedEngine:
        plan = _as_requested(cached.plan, request)
        engine = Engine(cached.model, plan, provider=CPU, precision=request.precision, optimised=True)
        # The sealed file was replayed whole on this processor by this runtime: one image a session shows that it is
        # the same still, and warms both.
        _replay(engine, request, images=1)
        return LoadedEngine(engine, _measured_as_planned(cached.measured, cached.plan, engine, request))

    try:
        loaded = _while_checking(request, pool, names, make)
    except ResServeError:
        if unaltered.result():
            raise
        return None
    return loaded if unaltered.result() else None


def _build(request: Load, folder: Path, source: list[int] | None, verified: Callable[[], None]) -> LoadedEngine:
    """Optimise, measure and seal."""
    verified()  # or what was altered would be sealed as if it were the original
    with cache.temporary_folder(folder) as temporary:
        model = Path(request.directory) / MODEL
        if temporary:
            optimise(model, CPU, temporary / MODEL)
            model = temporary / MODEL
        first = Plan(usable_cores(), max_batch=1, solo_threads=usable_cores() if usable_cores() > 1 else 0)
        engine = Engine(model, first, provider=CPU, precision=request.precision, optimised=temporary is not None)
        _replay(engine, request)
        measured = measure(engine.run, request.height, request.width, first.lanes, CPU_BATCHES, LONGEST_SECONDS)
        plan = Plan(first.lanes, measured.best_batch, first.solo_threads)
        engine.plan = _as_requested(plan, request)
        if engine.plan.solo_threads != plan.solo_threads:  # sessions keep the threads that they were made with
            optimised = temporary is not None
            engine = Engine(model, engine.plan, provider=CPU, precision=request.precision, optimised=optimised)
            _replay(engine, request)
        if temporary:
            cache.write_seal(temporary, folder, source, plan, measured)
    return LoadedEngine(engine, _measured_as_planned(measured, plan, engine, request))


def _as_requested(plan: Plan, request: Load) -> Plan:
    """The plan with what the operator set; a solo run on one thread is a lane's."""
    solo = plan.solo_threads if request.solo_threads == 0 else request.solo_threads
    return Plan(
        lanes=request.lanes or plan.lanes,
        max_batch=request.max_batch or plan.max_batch,
        solo_threads=solo if solo > 1 else 0,
        fixed=plan.fixed,
    )


def _measured_as_planned(measured: Measured, plan: Plan, engine: Engine, request: Load) -> Measured:
    """What was measured with `plan`, corrected where the engine has other threads for solo runs."""
    if engine.plan.solo_threads == plan.solo_threads:
        return measured
    return replace(measured, solo=measure_solo(engine.run, request.height, request.width))


def _replay(engine: Engine, request: Load, images: int | None = None) -> None:
    """Hold every session's answers on the golden images, or the first few of them, against PyTorch's."""
    with np.load(Path(request.directory) / GOLDEN) as golden:
        pixels, expected = golden["images"][:images], golden["logits"][:images]
    for solo in (False, True) if engine.plan.solo_threads else (False,):
        logits = np.concatenate([engine.run(pixels[index : index + 1], solo) for index in range(len(pixels))])
        hold(
            logits,
            expected,
            tolerance=request.tolerance,
            min_agreement=request.min_agreement,
            where=engine.provider,
        )
