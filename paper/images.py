"""Images of a folder in memory, and batches of them: a small data set is decoded once, not once an epoch."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.data import ImageData, Sample, open_data
from training.images import default_resize, read_rgb, served
from training.loader import Batch, mixed_seed


@dataclass(frozen=True)
class Images:
    """Decoded images.

    Attributes:
        pixels: uint8 [N, size, size, 3], RGB.
        labels: int64 [N].
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch: int) -> Iterator[Batch]:
        """Every image once, as it is and in order: uint8 [B, 3, size, size] in channels_last, and labels."""
        for start in range(0, len(self), batch):
            part = slice(start, start + batch)
            yield self.pixels[part].permute(0, 3, 1, 2), self.labels[part]

    def varied_batches(self, batch: int, *, seed: int, epoch: int, mirror: bool = True) -> Iterator[Batch]:
        """One epoch of training: shuffled, shifted by up to an eighth, mirrored at random (section 4.2).

        Seed and epoch alone decide what is drawn. Images that do not fill the last batch are left out.

        Args:
            batch: images in a batch.
            seed: of the run.
            epoch: number of the epoch.
            mirror: mirror every other image.
        """
        generator = torch.Generator().manual_seed(mixed_seed(seed, epoch))
        order = torch.randperm(len(self), generator=generator)
        for start in range(0, len(self) - batch + 1, batch):
            index = order[start : start + batch]
            yield _varied(self.pixels[index], generator, mirror), self.labels[index]


def _varied(pixels: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    """Shift and mirror all images of a batch by one gather; a transform for each would take longer than the network."""
    count, size = pixels.shape[:2]
    shift = size // 8
    padded = functional.pad(pixels, (0, 0, shift, shift, shift, shift))
    corners = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    rows, columns = corners + torch.arange(size)
    if mirror:
        flipped = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    images = torch.arange(count)
    return padded[images[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A folder of images, decoded.

    Attributes:
        files: the folder's listing, with labels and fingerprint.
        size: side of every image, in pixels.
        train: the part to train on.
        test: the held-out part.
    """

    files: ImageData
    size: int
    train: Images
    test: Images


def load(source: str, size: int) -> DataSet:
    """Decode a folder of images, or scikit-learn's digits; see `training.data.open_data`.

    Raises:
        ResServeError: no such folder, not a folder of images by class, or an image that cannot be read.
    """
    files = open_data(source, seed=0)
    return DataSet(files=files, size=size, train=_decoded(files.train, size), test=_decoded(files.held_out, size))


def _decoded(samples: list[Sample], size: int) -> Images:
    transform = served(size, default_resize(size))

    def decode(sample: Sample) -> Tensor:
        return transform(read_rgb(sample.path)).permute(1, 2, 0)

    pixels = torch.empty(len(samples), size, size, 3, dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, image in enumerate(pool.map(decode, samples, chunksize=256)):
            pixels[index] = image
    return Images(pixels, torch.tensor([sample.label for sample in samples]))
