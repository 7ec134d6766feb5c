"""One training run: from a configuration to OUT/checkpoint.pt, metrics.csv and curves.png."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from models import Checkpoint, build, load_checkpoint, save_checkpoint
from resserve.errors import ResServeError
from training.config import Plan, TrainConfig, make_plan
from training.data import Sample, check_images
from training.device import autocast
from training.history import Epoch, draw_curves, write_metrics
from training.images import MEAN, STD, served, varied
from training.initial import load_initial
from training.loader import Batches, Loader, Pictures, mixed_seed
from training.loop import Totals, evaluate, train_epoch
from training.progress import Display
from training.shared_memory import check_shared_memory
from training.summary import show_data


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        checkpoint: the file.
        epoch: whole epochs trained.
        top1: on the held-out images, from 0 to 1.
        loss: mean cross-entropy on them.
        measured_on: which images they are.
        epochs: every epoch; empty when the run had been finished before.
    """

    checkpoint: Path
    epoch: int
    top1: float
    loss: float
    measured_on: str
    epochs: list[Epoch]


def train(
    config: TrainConfig, *, console: Console | None = None, on_epoch: Callable[[Epoch], None] = lambda _: None
) -> Outcome:
    """Train as configured, keeping the last whole epoch in `config.out` at every moment.

    Everything random is drawn from the seed and the number of the epoch, so a run that was killed and resumed gives
    the same weights as one that was not (on one kind of CPU; on a GPU, as far as its kernels are deterministic).

    Args:
        config: the run.
        console: for people; None writes to stderr.
        on_epoch: called after every epoch, once it is saved.

    Raises:
        ResServeError: with a sentence for whoever started the run.
        KeyboardInterrupt: Ctrl-C or, as StoppedError, another signal; what was saved stays.
    """
    console = console or Console(stderr=True)
    plan = make_plan(config)
    saved = _saved(config, plan)
    if saved is not None and saved.epoch == plan.recipe.epochs:
        console.print(f"{config.checkpoint} is trained: {saved.epoch} epochs, top-1 {saved.metrics['top1']:.2%}.")
        return _outcome(config, saved, [])
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResServeError(f"Cannot write to {config.out} ({error.strerror}); choose another --out.") from error
    check_shared_memory(workers=plan.workers, batch_bytes=plan.recipe.batch * 3 * plan.size**2)
    show_data(plan.data, console)
    if saved is None:
        _check_images([*plan.data.train, *plan.data.held_out], console)
    try:
        return _Run(config, plan, saved, console).go(on_epoch)
    except torch.OutOfMemoryError as error:
        raise ResServeError(
            f"The memory of {plan.device} does not hold a batch of {plan.recipe.batch}; give a smaller --batch."
        ) from error


def _saved(config: TrainConfig, plan: Plan) -> Checkpoint | None:
    if not config.checkpoint.exists():
        return None
    if not config.resume:
        raise ResServeError(f"{config.out} holds a run already; go on with it by --resume, or choose another --out.")
    saved = load_checkpoint(config.checkpoint)
    plan.check_same(saved, config.checkpoint)
    if saved.training_state is None and saved.epoch < plan.recipe.epochs:
        raise ResServeError(f"{config.checkpoint} holds no state to go on from; start from it with --init.")
    return saved


def _check_images(samples: list[Sample], console: Console) -> None:
    checked = track(
        check_images(samples),
        description="reading every image once",
        total=len(samples),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    if mended := sum(checked):
        console.print(
            f"JPEG files that lack their last bytes, but no pixel, and are used: {mended:,}.", highlight=False
        )


def _outcome(config: TrainConfig, saved: Checkpoint, epochs: list[Epoch]) -> Outcome:
    return Outcome(
        checkpoint=config.checkpoint,
        epoch=saved.epoch,
        top1=saved.metrics["top1"],
        loss=saved.metrics["loss"],
        measured_on=saved.metrics_data,
        epochs=epochs,
    )


class _Run:
    """The moving parts of one run."""

    def __init__(self, config: TrainConfig, plan: Plan, saved: Checkpoint | None, console: Console) -> None:
        self.config, self.plan, self.console = config, plan, console
        torch.manual_seed(plan.seed)
        if saved is None:
            self.model = build(plan.architecture, **plan.arguments)
            if plan.init is not None:
                console.print(load_initial(plan.init, self.model, plan.architecture), highlight=False, soft_wrap=True)
        else:
            self.model = saved.build_model()
        self.model = self.model.to(plan.device, memory_format=torch.channels_last)
        self.optimizer = plan.recipe.optimizer(self.model)
        self.history: list[Epoch] = []
        if saved is not None and saved.training_state is not None:
            self.optimizer.load_state_dict(saved.training_state["optimizer"])
            self.history = [Epoch(**row) for row in saved.training_state["history"]]
        variation = varied(plan.size, crop=plan.recipe.crop, mirrored=plan.mirror)
        self.training = self._loader(plan.data.train, variation, order=plan.seed)
        self.held_out = self._loader(plan.data.held_out, served(plan.size, plan.resize), order=None)
        self.schedule = plan.recipe.steps(len(self.training))

    def _loader(self, samples: list[Sample], transform: Callable, order: int | None) -> Loader:
        pictures = Pictures(samples, transform, self.plan.seed)
        batches = Batches(len(samples), self.plan.recipe.batch, order)
        pin_memory = self.plan.device.type == "cuda"
        return Loader(pictures, batches, workers=self.plan.workers, pin_memory=pin_memory)

    def go(self, on_epoch: Callable[[Epoch], None]) -> Outcome:
        """Train the epochs that are left."""
        epochs, done = self.plan.recipe.epochs, len(self.history)
        if done:
            self.console.print(f"Going on after epoch {done} of {epochs}.", highlight=False, soft_wrap=True)
        steps = len(self.training) + len(self.held_out)
        try:
            with Display(self.console, epochs=epochs, steps=steps, done=done) as display:
                for number in range(done + 1, epochs + 1):
                    self.history.append(self._epoch(number, display))
                    checkpoint = self._save()
                    display.epoch(self.history[-1])
                    on_epoch(self.history[-1])
        finally:
            if self.history:
                title = f"{self.plan.architecture}, {self.plan.size} px, {self.plan.recipe.name} recipe"
                draw_curves(self.config.out / "curves.png", self.history, title)
        return _outcome(self.config, checkpoint, self.history)

    def _epoch(self, number: int, display: Display) -> Epoch:
        recipe, device = self.plan.recipe, self.plan.device
        torch.manual_seed(mixed_seed(self.plan.seed, number))  # for dropout
        first_step = (number - 1) * len(self.training)
        display.phase(number, "training")
        seen = train_epoch(
            self.model,
            self.training.epoch(number),
            self.optimizer,
            self.schedule.lr_at,
            first_step=first_step,
            device=device,
            precision=autocast(self.plan.precision, device),
            label_smoothing=recipe.label_smoothing,
            clip_norm=recipe.clip_norm,
            on_step=display.step,
        )
        display.phase(number, "validation")
        judged = evaluate(self.model, self.held_out.epoch(0), device=device, on_step=display.step)
        return _row(number, self.schedule.lr_at(first_step + len(self.training) - 1), seen, judged)

    def _save(self) -> Checkpoint:
        """Keep this epoch: the table, then the checkpoint, which alone says what is done."""
        plan, last = self.plan, self.history[-1]
        finished = last.epoch == plan.recipe.epochs
        history = [asdict(row) for row in self.history]
        checkpoint = Checkpoint(
            architecture=plan.architecture,
            arguments=plan.arguments,
            state_dict={name: value.contiguous() for name, value in self.model.state_dict().items()},
            labels=plan.data.labels,
            input_size=plan.size,
            resize=plan.resize,
            mean=MEAN,
            std=STD,
            recipe=plan.settings,
            epoch=last.epoch,
            metrics={"top1": 1 - last.val_error, "loss": last.val_loss},
            metrics_data=plan.data.description,
            fingerprint=plan.data.fingerprint,
            training_state=None if finished else {"optimizer": self.optimizer.state_dict(), "history": history},
        )
        write_metrics(self.config.out / "metrics.csv", self.history)
        save_checkpoint(self.config.checkpoint, checkpoint)
        return checkpoint


def _row(number: int, lr: float, seen: Totals, judged: Totals) -> Epoch:
    return Epoch(
        epoch=number,
        lr=lr,
        train_loss=seen.loss,
        train_error=1 - seen.top1,
        val_loss=judged.loss,
        val_error=1 - judged.top1,
        images_per_second=seen.images_per_second,
        seconds=seen.seconds + judged.seconds,
    )
