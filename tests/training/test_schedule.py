import pytest
from hypothesis import given
from hypothesis import strategies as st

from resserve.errors import ResServeError
from training.recipes import RECIPES, choose_recipe
from training.schedule import Schedule


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("cosine", 0, 0.1),
        ("cosine", 9, 1.0),
        ("cosine", 10, 1.0),
        ("cosine", 55, 0.5),
        ("cosine", 100, 0.0),
        ("step", 0, 0.1),
        ("step", 49, 1.0),
        ("step", 50, 0.1),
        ("step", 75, 0.01),
        ("step", 99, 0.01),
    ],
)
def test_known_steps(kind: str, step: int, expected: float) -> None:
    """The rate is the paper's or the half cosine's at the steps where it turns."""
    schedule = Schedule(kind=kind, peak=1.0, warmup=10, total=100)

    assert expected == pytest.approx(schedule.lr_at(step), abs=1e-12)


@given(
    name=st.sampled_from(sorted(RECIPES)),
    epochs=st.integers(1, 300),
    per_epoch=st.integers(1, 5000),
    warmup=st.floats(0, 20),
    data=st.data(),
)
def test_every_step_of_every_recipe(name: str, epochs: int, per_epoch: int, warmup: float, data: st.DataObject) -> None:
    """A rate is never zero or negative before the end, never above the peak, and falls after the warm-up."""
    schedule = choose_recipe(name, epochs=epochs, lr=0.3, warmup=warmup).steps(per_epoch)
    step = data.draw(st.integers(0, schedule.total - 1))

    assert 0 < schedule.lr_at(step) <= 0.3
    if step + 1 >= schedule.warmup:  # the last step of the warm-up is at the peak
        assert schedule.lr_at(step + 1) <= schedule.lr_at(step)
    else:
        assert schedule.lr_at(step + 1) >= schedule.lr_at(step)


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"batch": 1}, {"lr": 0.0}, {"lr": float("nan")}, {"warmup": -1.0}])
def test_values_out_of_range(changes: dict[str, float]) -> None:
    """A recipe refuses numbers that no run can have."""
    with pytest.raises(ResServeError, match="at least 1 epoch"):
        choose_recipe("modern", **changes)
