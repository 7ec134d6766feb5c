"""Training runs: resumable to the bit, within a budget."""

from dataclasses import replace

import pytest
import torch

from paper.images import load
from paper.options import Options
from paper.runs import Budget, Run, Runs, default_run
from resserve.errors import ResServeError


class OneEpoch(Budget):
    """A budget that is spent after the first epoch of each call."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def allows(self, seconds: float = 0.0) -> bool:
        """Once to begin, once for an epoch."""
        self._asked += 1
        return self._asked <= 2


def test_a_resumed_run_ends_with_the_same_weights(small: Options) -> None:
    """A run that was stopped after every epoch gives the weights and errors of an uninterrupted one."""
    data = load(small.data, 8)
    run = default_run("resnet20", seed=1, epochs=3, size=8)

    whole = Runs(small.runs / "whole", data).train(run, Budget())
    for _ in range(3):
        parts = Runs(small.runs / "parts", data).train(run, OneEpoch())

    assert len(parts.history) == 3
    for name, value in whole.checkpoint.state_dict.items():
        assert torch.equal(value, parts.checkpoint.state_dict[name]), name
    assert [epoch.train_error for epoch in whole.history] == [epoch.train_error for epoch in parts.history]
    assert whole.checkpoint.metrics == parts.checkpoint.metrics


def test_a_stopped_run_keeps_whole_epochs(small: Options) -> None:
    """A budget ends a run between epochs, and says so; what was trained is on disk."""
    said: list[str] = []
    runs = Runs(small.runs, load(small.data, 8), said.append)
    run = default_run("plain20", seed=1, epochs=3, size=8)

    record = runs.train(run, OneEpoch())

    assert not record.finished
    assert len(record.history) == 1
    assert runs.read(run).history == record.history
    assert "budget ends after epoch 1 of 3" in said[-1]


def test_a_spent_budget_trains_nothing(small: Options) -> None:
    """Without time no run is begun, and no folder is made."""
    record = Runs(small.runs, load(small.data, 8)).train(default_run("plain20", seed=1, epochs=1, size=8), Budget(0))

    assert record.history == []
    assert not small.runs.exists()


def test_a_finished_run_is_not_trained_again(small: Options) -> None:
    """A second call returns the finished run and leaves its files alone."""
    runs = Runs(small.runs, load(small.data, 8))
    run = default_run("plain20", seed=1, epochs=1, size=8)
    runs.train(run, Budget())
    (file,) = small.runs.rglob("checkpoint.pt")
    written = file.stat().st_mtime_ns

    assert runs.train(run, Budget()).finished
    assert file.stat().st_mtime_ns == written


def test_a_finished_run_knows_its_training_error(small: Options) -> None:
    """The finished network is judged on the training images as they are."""
    record = Runs(small.runs, load(small.data, 8)).train(default_run("plain20", seed=1, epochs=1, size=8), Budget())

    assert 0 <= record.checkpoint.metrics["train_top1"] <= 1


def test_the_learning_rate_falls_at_half_and_three_quarters(small: Options) -> None:
    """Eight epochs on the shortened step schedule: four at 0.1, two at 0.01, two at 0.001."""
    record = Runs(small.runs, load(small.data, 8)).train(default_run("plain20", seed=1, epochs=8, size=8), Budget())

    assert [epoch.lr for epoch in record.history] == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_runs_that_differ_have_different_names() -> None:
    """Network, shortcut, seed, epochs and size are all in the name, so no run goes on with another's weights."""
    run = Run(network="resnet20", seed=1, epochs=2, size=8, shortcut="A")
    changes = [{"network": "resnet32"}, {"seed": 2}, {"epochs": 3}, {"size": 16}, {"shortcut": "B"}]

    names = {run.name, *(replace(run, **change).name for change in changes)}

    assert len(names) == 1 + len(changes)


def test_networks_too_large_for_the_images_are_refused() -> None:
    """A network whose strides leave nothing of the images is refused before anything is trained."""
    with pytest.raises(ResServeError, match="at least 32x32"):
        default_run("vgg16", seed=1, epochs=1, size=8)
