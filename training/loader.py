"""Batches of images from files, the same ones however many processes read them and wherever a run was resumed."""

import errno
import signal
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torchvision.transforms import v2

from resserve.errors import ResServeError
from training.data import Sample
from training.images import read_rgb
from training.shared_memory import ADVICE

Batch = tuple[Tensor, Tensor]
Key = tuple[int, int]  # epoch, index of the sample

_NO_PLACE = (errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EACCES, errno.EPERM)


def mixed_seed(*parts: int) -> int:
    """One 64-bit seed from several numbers, well mixed: random numbers of neighbours have nothing in common."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


class Pictures(Dataset[tuple[Tensor, int] | ResServeError]):
    """Samples as tensors. What is drawn depends on seed, epoch and index alone."""

    def __init__(self, samples: list[Sample], transform: v2.Transform, seed: int) -> None:
        self.samples = samples
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: Key) -> tuple[Tensor, int] | ResServeError:
        """The picture, uint8 [3, H, W], and its label; or the error, which raised here would lose its sentence."""
        epoch, index = key
        path, label = self.samples[index]
        try:
            image = read_rgb(path)
        except ResServeError as error:
            return ResServeError(f"Cannot read an image: {error}")
        return self._transformed(image, epoch, index), label

    def _transformed(self, image: Image.Image, epoch: int, index: int) -> Tensor:
        # As torch.random.fork_rng and torch.manual_seed, which also see to GPUs and take 50 times as long.
        state = torch.get_rng_state()
        try:
            torch.default_generator.manual_seed(mixed_seed(self.seed, epoch, index))
            return self.transform(image)
        finally:
            torch.set_rng_state(state)


class Batches(Sampler[list[Key]]):
    """The order of one epoch, set before it is iterated.

    Args:
        count: number of samples.
        batch: samples in each batch.
        seed: of the order; None keeps the samples' own, and the last batch may be short. Otherwise what does not fill
            a batch is left out of this epoch.
    """

    def __init__(self, count: int, batch: int, seed: int | None) -> None:
        self.count = count
        self.batch = min(batch, count)
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.batch if self.seed is not None else -(-self.count // self.batch)

    def __iter__(self) -> Iterator[list[Key]]:
        order = list(range(self.count))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            order = torch.randperm(self.count, generator=generator).tolist()
        for i in range(len(self)):
            yield [(self.epoch, index) for index in order[i * self.batch : (i + 1) * self.batch]]


class Loader:
    """Epochs of batches, read ahead by worker processes that end with this one."""

    def __init__(self, pictures: Pictures, batches: Batches, *, workers: int, pin_memory: bool) -> None:
        self._batches = batches
        self._loader = DataLoader(
            pictures,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            collate_fn=_collate,
            worker_init_fn=_ignore_interrupts,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch: images uint8 [N, 3, H, W] and labels int64 [N].

        Raises:
            ResServeError: an image can no longer be read, or a worker process died.
        """
        self._batches.epoch = number
        try:
            for batch in self._loader:
                if isinstance(batch, ResServeError):
                    raise batch
                yield batch
        except (RuntimeError, OSError) as error:
            sentence = self._sentence(error)
            if sentence is None:
                raise
            raise ResServeError(sentence) from error

    def _sentence(self, error: RuntimeError | OSError) -> str | None:
        if not self._loader.num_workers:
            return None
        # Semaphores are files in shared memory, too; and torch speaks of it where a worker met a bus error.
        if "shared memory" in str(error) or (isinstance(error, OSError) and error.errno in _NO_PLACE):
            return f"Processes that read images ran out of shared memory (/dev/shm); {ADVICE}."
        if "DataLoader worker" in str(error):
            return (
                "A process that reads images was ended from outside, most likely for want of memory; "
                "go on with --resume and fewer --workers."
            )
        return None


def _collate(items: list[tuple[Tensor, int] | ResServeError]) -> Batch | ResServeError:
    return next((item for item in items if isinstance(item, ResServeError)), None) or default_collate(items)


def _ignore_interrupts(_: int) -> None:
    # Ctrl-C and a closed terminal reach the whole process group; the run itself ends its workers.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
