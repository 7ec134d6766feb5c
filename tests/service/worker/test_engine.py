"""Batches of fixed sizes, as a GPU runs them, on the CPU that every machine has."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service.worker.engine import CPU, Engine
from service.worker.plan import Measured, Plan, measure


@pytest.fixture(scope="module")
def engine(repository: Path) -> Engine:
    """`alpha` with batches of 1, 2, 4 and 8."""
    plan = Plan(lanes=1, max_batch=8, solo_threads=0, fixed=True)
    return Engine(repository / "alpha" / "1" / "model.onnx", plan, provider=CPU, precision="fp32", optimised=False)


@pytest.mark.parametrize("count", range(1, 9))
def test_padding_changes_no_answer(engine: Engine, repository: Path, count: int) -> None:
    """A batch of any size is answered image by image as PyTorch did, and nothing is answered for the padding."""
    with np.load(repository / "alpha" / "1" / "golden.npz") as golden:
        images, logits = golden["images"][:count], golden["logits"][:count]

    answers = engine.run(images)

    assert answers.shape == logits.shape
    np.testing.assert_allclose(answers, logits, atol=1e-4)


def test_batches_side_by_side_keep_to_themselves(engine: Engine, repository: Path) -> None:
    """Lanes that run batches of all sizes at the same time, over memory that is used again and again."""
    with np.load(repository / "alpha" / "1" / "golden.npz") as golden:
        images, logits = golden["images"], golden["logits"]
    picks = [np.random.default_rng(seed).permutation(len(images))[: seed % 8 + 1] for seed in range(200)]

    with ThreadPoolExecutor(4) as lanes:
        answers = list(lanes.map(lambda pick: engine.run(images[pick]), picks))

    for pick, answer in zip(picks, answers, strict=True):
        np.testing.assert_allclose(answer, logits[pick], atol=1e-4)


@pytest.mark.parametrize("max_batch", [1, 4, 6])
def test_measuring_leaves_no_new_shape(repository: Path, max_batch: int) -> None:
    """Once every size was measured, no batch is the first of its shape, whatever the operator's largest is."""
    plan = Plan(lanes=2, max_batch=max_batch, solo_threads=0, fixed=True)
    model = repository / "alpha" / "1" / "model.onnx"
    engine = Engine(model, plan, provider=CPU, precision="fp32", optimised=False)
    assert engine.is_new(max_batch)

    measure(engine.run, 32, 32, plan.lanes, plan.sizes)

    assert not any(engine.is_new(count) for count in range(1, max_batch + 1))


def test_fixed_sizes() -> None:
    """Powers of two, and the largest batch whatever it is."""
    assert Plan(lanes=2, max_batch=32, solo_threads=0, fixed=True).sizes == (1, 2, 4, 8, 16, 32)
    assert Plan(lanes=2, max_batch=6, solo_threads=0, fixed=True).sizes == (1, 2, 4, 6)


@pytest.mark.parametrize(
    ("runs", "best"),
    [
        ({1: 1.0, 2: 2.0}, 1),
        ({1: 0.06, 2: 0.12, 4: 0.24}, 4),
        ({1: 0.1, 2: 0.25, 4: 0.6}, 1),
        ({1: 0.1, 2: 0.15, 4: 0.31}, 2),
        ({1: 0.1, 2: 0.15, 4: 0.2}, 4),
    ],
)
def test_a_larger_batch_must_pay(runs: dict[int, float], best: int) -> None:
    """With the model, or with handing over, which a long run dwarfs; the smallest batch within 1 % is chosen."""
    assert Measured(runs, 0.1).best_batch == best


def test_batches_that_would_take_too_long_are_not_measured() -> None:
    """A first start is not kept waiting for sizes that nobody is to wait for; the single image is always measured."""
    seen = []

    def run(images: np.ndarray, solo: bool) -> np.ndarray:
        seen.append(len(images))
        time.sleep(0.02 * len(images))
        return np.zeros((len(images), 2), np.float32)

    assert list(measure(run, 4, 4, 2, (1, 2, 4, 8), longest=0.06).runs) == [1, 2]
    assert 8 not in seen and seen.count(4) == 1
    assert list(measure(run, 4, 4, 2, (1, 2), longest=0.001).runs) == [1]
