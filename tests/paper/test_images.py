"""Images in memory: decoded as they are, varied as the paper does."""

from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from paper.images import load


def test_images_are_those_of_the_folder(images: Path) -> None:
    """Pixels, order and labels are the folder's, class by class."""
    data = load(str(images), 8)

    with Image.open(images / "train" / "red" / "03.png") as file:
        expected = torch.from_numpy(np.array(file))
    assert data.files.labels == ["blue", "red"]
    assert torch.equal(data.train.pixels[12 + 3], expected)
    assert data.train.labels.tolist() == [0] * 12 + [1] * 12


def test_unvaried_batches_show_every_image_once(images: Path) -> None:
    """Judging sees every image as it is, the short last batch included."""
    data = load(str(images), 8)

    batches = list(data.train.batches(10))

    assert [len(labels) for _, labels in batches] == [10, 10, 4]
    assert torch.equal(torch.cat([pixels for pixels, _ in batches]).permute(0, 2, 3, 1), data.train.pixels)


def test_a_variation_is_a_shifted_and_perhaps_mirrored_image(images: Path) -> None:
    """Each varied image is its original shifted by up to an eighth over black, or the mirror image of that."""
    train = load(str(images), 8).train
    possible = set()
    for image in train.pixels.permute(0, 3, 1, 2):
        padded = functional.pad(image, (1, 1, 1, 1))
        for top, left, mirrored in product(range(3), range(3), (False, True)):
            cut = padded[:, top : top + 8, left : left + 8]
            possible.add((cut.flip(2) if mirrored else cut).contiguous().numpy().tobytes())

    varied = torch.cat([pixels for epoch in (1, 2) for pixels, _ in train.varied_batches(12, seed=1, epoch=epoch)])

    assert all(image.contiguous().numpy().tobytes() in possible for image in varied)
    assert len({image.contiguous().numpy().tobytes() for image in varied}) > 40


def test_variations_follow_from_seed_and_epoch(images: Path) -> None:
    """The same seed and epoch give the same batches; another epoch or another seed gives others."""
    train = load(str(images), 8).train

    def drawn(seed: int, epoch: int) -> torch.Tensor:
        return torch.cat([pixels for pixels, _ in train.varied_batches(12, seed=seed, epoch=epoch)])

    assert torch.equal(drawn(1, 1), drawn(1, 1))
    assert not torch.equal(drawn(1, 1), drawn(1, 2))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))


def test_each_epoch_shows_every_image_with_its_label(images: Path) -> None:
    """Shuffling keeps an image and its label together, and shows none twice."""
    train = load(str(images), 8).train

    pixels, labels = next(train.varied_batches(24, seed=3, epoch=1))

    red_is_stronger = pixels[:, 0].float().sum((1, 2)) > pixels[:, 2].float().sum((1, 2))
    assert labels.sum() == 12
    assert torch.equal(red_is_stronger.long(), labels)
