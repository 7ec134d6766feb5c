"""Training runs of the paper's networks: named by what they are, resumable, and shared by the experiments."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
from torch import nn

from models import Checkpoint, build, find, load_checkpoint, save_checkpoint
from paper.images import DataSet, Images
from training.device import autocast, choose_device, choose_precision
from training.history import Epoch, write_metrics
from training.images import MEAN, STD, default_resize
from training.loop import Totals, evaluate, train_epoch
from training.recipes import Recipe, choose_recipe

JUDGED_AT_ONCE = 125  # images in a batch of an evaluation: a fifth faster than 500, whose activations leave the cache


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run.

    Attributes:
        network: a name of the catalogue.
        seed: of the weights, the order and the variations.
        epochs: times every training image is seen; the learning rate falls at 1/2 and 3/4 of them.
        size: side of the images, in pixels.
        shortcut: "A", "B" or "C"; None for a network without shortcuts.
    """

    network: str
    seed: int
    epochs: int
    size: int
    shortcut: str | None = None

    @property
    def name(self) -> str:
        """The run in one word, e.g. resnet20-A-32px-30epochs-seed1."""
        option = f"-{self.shortcut}" if self.shortcut else ""
        return f"{self.network}{option}-{self.size}px-{self.epochs}epochs-seed{self.seed}"

    @property
    def recipe(self) -> Recipe:
        """The paper's (section 4.2) on a shortened schedule; 110 layers and more warm up, as they did there."""
        deep = self.network.endswith(("110", "1202"))
        return choose_recipe("paper", epochs=self.epochs, warmup=1 if deep else None)

    def build(self, classes: int) -> nn.Module:
        """The network as the run starts with it."""
        torch.manual_seed(self.seed)
        return build(self.network, **self.arguments(classes))

    def arguments(self, classes: int) -> dict[str, int | str]:
        """What `models.build` is given beside the name."""
        return {"num_classes": classes} | ({"shortcut": self.shortcut} if self.shortcut else {})


def default_run(network: str, *, seed: int, epochs: int, size: int, shortcut: str | None = None) -> Run:
    """A run of a network with its family's shortcut option, unless another is given.

    Raises:
        ResServeError: the catalogue has no such network, or its strides leave nothing of such images.
    """
    entry = find(network)
    entry.check_size(size, size)
    return Run(network=network, seed=seed, epochs=epochs, size=size, shortcut=shortcut or entry.shortcut)


class Budget:
    """Wall-clock time that may be spent, in seconds; None is without end."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def allows(self, seconds: float = 0.0) -> bool:
        """Is so much left? The last epoch tells what the next one takes, so that none is begun in vain."""
        return self._end is None or time.monotonic() + seconds < self._end


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as far as it has come.

    Attributes:
        run: what was trained.
        history: its epochs.
        steps_per_epoch: iterations in each of them.
        checkpoint: its network after the last of them; None before the first.
    """

    run: Run
    history: list[Epoch]
    steps_per_epoch: int
    checkpoint: Checkpoint | None

    @property
    def finished(self) -> bool:
        """Are all epochs trained?"""
        return len(self.history) == self.run.epochs


class Runs:
    """The runs on one data set, kept in a folder: `ROOT/<fingerprint>/<run>/checkpoint.pt`."""

    def __init__(self, root: Path, data: DataSet, say: Callable[[str], None] = lambda _: None) -> None:
        self._folder = root / data.files.fingerprint[:12]
        self._data = data
        self._say = say
        self._device = choose_device("auto")

    def read(self, run: Run) -> Record:
        """A run as its folder has it.

        Raises:
            ResServeError: its checkpoint is damaged.
        """
        path = self._path(run)
        batch = min(run.recipe.batch, len(self._data.train))
        saved = load_checkpoint(path) if path.exists() else None
        history = [Epoch(**row) for row in saved.training_state["history"]] if saved and saved.training_state else []
        return Record(run=run, history=history, steps_per_epoch=len(self._data.train) // batch, checkpoint=saved)

    def train(self, run: Run, budget: Budget) -> Record:
        """Train the epochs that are left, as far as the budget goes, keeping each whole epoch.

        Seed and number of the epoch decide all that is random, so a run that was stopped and resumed gives the weights
        of a run that was not, on one kind of machine with one number of threads.

        Raises:
            ResServeError: the checkpoint cannot be read or written, or training has diverged.
        """
        record = self.read(run)
        if record.finished or not budget.allows():
            return record
        return _Training(self._data, record, self._device, self._path(run), self._say).go(budget)

    def _path(self, run: Run) -> Path:
        return self._folder / run.name / "checkpoint.pt"


class _Training:
    """The moving parts of one run."""

    def __init__(
        self, data: DataSet, record: Record, device: torch.device, path: Path, say: Callable[[str], None]
    ) -> None:
        self.data, self.record, self.device, self.path, self.say = data, record, device, path, say
        self.run, self.history, saved = record.run, list(record.history), record.checkpoint
        model = self.run.build(len(data.files.labels)) if saved is None else saved.build_model()
        self.model = model.to(device, memory_format=torch.channels_last)
        self.recipe = self.run.recipe
        self.optimizer = self.recipe.optimizer(self.model)
        self.precision = choose_precision("auto", device)
        if saved is not None:
            self.optimizer.load_state_dict(saved.training_state["optimizer"])
            self.precision = saved.recipe["precision"]  # a run stays in its number format on every machine

    def go(self, budget: Budget) -> Record:
        checkpoint = self.record.checkpoint
        while len(self.history) < self.run.epochs:
            if not budget.allows(self.history[-1].seconds if self.history else 0.0):
                self.say(f"{self.run.name}: the budget ends after epoch {len(self.history)} of {self.run.epochs}")
                break
            self.history.append(self._epoch(len(self.history) + 1))
            checkpoint = self._save()
            last = self.history[-1]
            self.say(
                f"{self.run.name}: epoch {last.epoch}/{self.run.epochs}  lr {last.lr:g}  "
                f"training error {last.train_error:.2%}  test error {last.val_error:.2%}  "
                f"{last.images_per_second:.0f} img/s  {last.seconds:.0f} s"
            )
        return Record(
            run=self.run,
            history=self.history,
            steps_per_epoch=self.record.steps_per_epoch,
            checkpoint=checkpoint,
        )

    def _epoch(self, number: int) -> Epoch:
        steps = self.record.steps_per_epoch
        schedule = self.recipe.steps(steps)
        first_step = (number - 1) * steps
        batch = min(self.recipe.batch, len(self.data.train))
        seen = train_epoch(
            self.model,
            self.data.train.varied_batches(batch, seed=self.run.seed, epoch=number, mirror=self.data.files.mirrored),
            self.optimizer,
            schedule.lr_at,
            first_step=first_step,
            device=self.device,
            precision=autocast(self.precision, self.device),
        )
        judged = self._judge(self.data.test)
        return Epoch(
            epoch=number,
            lr=schedule.lr_at(first_step),
            train_loss=seen.loss,
            train_error=1 - seen.top1,
            val_loss=judged.loss,
            val_error=1 - judged.top1,
            images_per_second=seen.images_per_second,
            seconds=seen.seconds + judged.seconds,
        )

    def _judge(self, images: Images) -> Totals:
        # In the number format of the training: on AMX, float32 takes 2.6 times as long, a tenth of the whole run.
        with autocast(self.precision, self.device):
            return evaluate(self.model, images.batches(JUDGED_AT_ONCE), device=self.device)

    def _save(self) -> Checkpoint:
        last, data = self.history[-1], self.data
        metrics = {"top1": 1 - last.val_error, "loss": last.val_loss}
        if last.epoch == self.run.epochs:
            # The finished network on the training images as they are; the epochs' own figures are of a moving network.
            trained = self._judge(data.train)
            metrics |= {"train_top1": trained.top1, "train_loss": trained.loss}
        checkpoint = Checkpoint(
            architecture=self.run.network,
            arguments=self.run.arguments(len(data.files.labels)),
            state_dict={name: value.contiguous() for name, value in self.model.state_dict().items()},
            labels=data.files.labels,
            input_size=data.size,
            resize=default_resize(data.size),
            mean=MEAN,
            std=STD,
            recipe=asdict(self.recipe) | {"precision": self.precision, "seed": self.run.seed, **_provenance()},
            epoch=last.epoch,
            metrics=metrics,
            metrics_data=data.files.description,
            fingerprint=data.files.fingerprint,
            training_state={
                "optimizer": self.optimizer.state_dict(),
                "history": [asdict(epoch) for epoch in self.history],
            },
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_metrics(self.path.with_name("metrics.csv"), self.history)
        save_checkpoint(self.path, checkpoint)
        return checkpoint


def _provenance() -> dict[str, str]:
    return {"machine": machine(), "date": date.today().isoformat(), "torch": str(torch.__version__)}


def machine() -> str:
    """The processor, and how many threads compute on it."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"
