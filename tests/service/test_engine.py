"""Batches of fixed sizes, as a GPU runs them, on the CPU that every machine has."""

from pathlib import Path

import numpy as np
import pytest

from service.worker.engine import CPU, Engine
from service.worker.plan import Measured, Plan, measure


@pytest.fixture(scope="module")
def engine(repository: Path) -> Engine:
    """`alpha` with batches of 1, 2, 4 and 8."""
    plan = Plan(lanes=1, max_batch=8, alone_threads=0, fixed=True)
    return Engine(repository / "alpha" / "1" / "model.onnx", plan, provider=CPU, precision="fp32", optimised=False)


@pytest.mark.parametrize("count", range(1, 9))
def test_padding_changes_no_answer(engine: Engine, repository: Path, count: int) -> None:
    """A batch of any size is answered image by image as PyTorch did, and nothing is answered for the padding."""
    with np.load(repository / "alpha" / "1" / "golden.npz") as golden:
        images, logits = golden["images"][:count], golden["logits"][:count]

    answers = engine.run(images)

    assert answers.shape == logits.shape
    np.testing.assert_allclose(answers, logits, atol=1e-4)


def test_measuring_leaves_no_new_shape(repository: Path) -> None:
    """Once every size was measured, no batch is the first of its shape."""
    plan = Plan(lanes=2, max_batch=4, alone_threads=0, fixed=True)
    model = repository / "alpha" / "1" / "model.onnx"
    engine = Engine(model, plan, provider=CPU, precision="fp32", optimised=False)
    assert engine.is_new(3)

    measure(engine.run, 32, 32, plan.lanes, (1, 2, 4))

    assert not any(engine.is_new(count) for count in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("runs", "best"),
    [
        ({1: 0.1, 2: 0.2, 4: 0.4}, 1),
        ({1: 0.1, 2: 0.19, 4: 0.38}, 1),
        ({1: 0.1, 2: 0.15, 4: 0.29}, 2),
        ({1: 0.1, 2: 0.15, 4: 0.2}, 4),
    ],
)
def test_a_larger_batch_must_pay(runs: dict[int, float], best: int) -> None:
    """The smallest batch within 10 % of the best images per second is chosen."""
    assert Measured(runs, 0.1).best_batch == best
