"""One epoch of training, and one look at the held-out images."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from resserve.errors import ResServeError
from training.images import MEAN, STD
from training.loader import Batch


@dataclass
class Totals:
    """Sums over the images seen so far; they stay on the device until they are read."""

    images: int = 0
    loss_sum: Tensor | float = 0.0
    right: Tensor | int = 0
    seconds: float = 0.0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [N, classes], labels [N]."""
        logits = logits.detach().float()
        self.images += len(labels)
        self.loss_sum = self.loss_sum + functional.cross_entropy(logits, labels, reduction="sum")
        self.right = self.right + (logits.argmax(1) == labels).sum()

    @property
    def loss(self) -> float:
        """Mean cross-entropy, without label smoothing, so that training and validation compare."""
        return float(self.loss_sum) / max(1, self.images)

    @property
    def top1(self) -> float:
        """The part whose best-scored class was right, from 0 to 1."""
        return float(self.right) / max(1, self.images)

    @property
    def images_per_second(self) -> float:
        """Throughput, reading included."""
        return self.images / self.seconds if self.seconds else 0.0


OnStep = Callable[[Totals], None]


class Normalise(nn.Module):
    """What the exported graph does first: uint8 [N, 3, H, W] to float32, scaled and normalised per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise a batch."""
        return images.float().div_(255).sub_(self.mean).div_(self.std)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Images in channels_last, and labels, on the device."""
    images, labels = batch
    images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    return images, labels.to(device, non_blocking=True)


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    lr_at: Callable[[int], float],
    *,
    first_step: int,
    device: torch.device,
    precision: AbstractContextManager[None],
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    on_step: OnStep = lambda _: None,
) -> Totals:
    """Train on every batch once.

    Args:
        model: on the device.
        batches: images uint8 [N, 3, H, W] and labels int64 [N].
        optimizer: its learning rate is set here, for each step.
        lr_at: learning rate of a step of the whole run.
        first_step: the run's steps before this epoch.
        device: where the model is.
        precision: the autocast context of the forward pass.
        label_smoothing: part of the target shared among all classes (Szegedy et al. 2015, section 7).
        clip_norm: largest L2 norm of all gradients together; None leaves them.
        on_step: called after each step with the totals so far.

    Raises:
        ResServeError: the loss is no longer a number.
    """
    model.train()
    normalise = Normalise().to(device)
    totals = Totals()
    started = time.perf_counter()
    for step, batch in enumerate(batches, start=first_step):
        images, labels = to_device(batch, device)
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        with precision:
            logits = model(normalise(images))
            loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        totals.add(logits, labels)
        totals.seconds = time.perf_counter() - started
        on_step(totals)
    if not math.isfinite(totals.loss):
        raise ResServeError("The loss is no longer a number, so training has diverged; choose a lower --lr.")
    totals.seconds = time.perf_counter() - started
    return totals


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, device: torch.device, on_step: OnStep = lambda _: None
) -> Totals:
    """Judge a model in float32, as it will be served."""
    model.eval()
    normalise = Normalise().to(device)
    totals = Totals()
    started = time.perf_counter()
    for batch in batches:
        images, labels = to_device(batch, device)
        totals.add(model(normalise(images)), labels)
        totals.seconds = time.perf_counter() - started
        on_step(totals)
    return totals
