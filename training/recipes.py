"""Recipes: how to train, all but the network and the data."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from resserve.errors import ResServeError
from training.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train.

    Attributes:
        name: "paper" or "modern".
        epochs: times every training image is seen.
        batch: images in an optimizer step.
        lr: the highest learning rate, for this batch.
        warmup: epochs that rise to it.
        schedule: see Schedule.kind.
        momentum: of stochastic gradient descent.
        nesterov: look ahead along the momentum.
        weight_decay: of the weights of convolutions and linear layers, and of the rest if `decay_all`.
        decay_all: decay biases and batch norms too.
        label_smoothing: part of the target shared among all classes.
        clip_norm: largest L2 norm of all gradients together; None leaves them.
        crop: see images.varied.
        zero_init_residual: start every residual block as its shortcut, where shortcuts have weights to learn with.
    """

    name: str
    epochs: int
    batch: int
    lr: float
    warmup: float
    schedule: Literal["step", "cosine"]
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = True
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    crop: Literal["area", "scale"] = "scale"
    zero_init_residual: bool = False

    def steps(self, per_epoch: int) -> Schedule:
        """The learning rates of a run of so many steps an epoch."""
        total = self.epochs * per_epoch
        warmup = min(round(self.warmup * per_epoch), total // 2)
        return Schedule(kind=self.schedule, peak=self.lr, warmup=warmup, total=total)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Stochastic gradient descent over the model's parameters."""
        parameters = list(model.parameters())
        kernels = [p for p in parameters if p.ndim > 1 or self.decay_all]
        rest = [p for p in parameters if p.ndim <= 1 and not self.decay_all]
        groups = [
            {"params": kernels, "weight_decay": self.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=True)


# He et al. 2015, sections 3.4 and 4.2: batch 128 on CIFAR (256 on ImageNet), and 164 epochs are its 64k iterations.
PAPER = Recipe(name="paper", epochs=164, batch=128, lr=0.1, warmup=0, schedule="step")

# What is usual since: Goyal et al. 2017 (warm-up, no decay of batch norms, blocks that start as their shortcuts) and
# He et al. 2018, "Bag of Tricks" (cosine, label smoothing), with a batch for data sets of thousands of images.
MODERN = Recipe(
    name="modern",
    epochs=20,
    batch=32,
    lr=0.05,
    warmup=1,
    schedule="cosine",
    nesterov=True,
    weight_decay=5e-4,
    decay_all=False,
    label_smoothing=0.1,
    clip_norm=5.0,
    crop="area",
    zero_init_residual=True,
)

RECIPES = {recipe.name: recipe for recipe in (PAPER, MODERN)}


def choose_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name, with what is not None changed.

    Raises:
        ResServeError: there is no such recipe, or a value is out of its range.
    """
    if name not in RECIPES:
        raise ResServeError(f"There is no recipe {name!r}; choose {' or '.join(RECIPES)}.")
    recipe = replace(RECIPES[name], **{key: value for key, value in changes.items() if value is not None})
    if recipe.epochs < 1 or recipe.batch < 2 or not 0 < recipe.lr < float("inf") or recipe.warmup < 0:
        raise ResServeError(
            "Give at least 1 epoch, a batch of at least 2, a learning rate above 0 and no negative warm-up."
        )
    return recipe
