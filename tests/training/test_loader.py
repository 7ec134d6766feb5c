import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resserve.errors import ResServeError
from tests.training.conftest import Painter
from training.data import open_data
from training.images import varied
from training.loader import Batches, Loader, Pictures


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 5), st.integers(1, 5))
def test_training_order(count: int, batch: int, seed: int, epoch: int) -> None:
    """An epoch sees each image at most once in full batches, leaving out less than a batch."""
    batches = Batches(count, batch, seed)
    batches.epoch = epoch

    drawn = list(batches)

    indices = [index for keys in drawn for _, index in keys]
    assert len(drawn) == len(batches) > 0
    assert {len(keys) for keys in drawn} == {min(batch, count)}
    assert len(set(indices)) == len(indices) > count - batch
    assert {number for keys in drawn for number, _ in keys} == {epoch}


@given(st.integers(1, 200), st.integers(1, 64))
def test_validation_order(count: int, batch: int) -> None:
    """Validation sees every image once, in order."""
    batches = Batches(count, batch, None)

    assert [index for keys in batches for _, index in keys] == list(range(count))
    assert len(list(batches)) == len(batches)


def test_pictures_do_not_depend_on_who_reads_them(paint: Painter) -> None:
    """An epoch's batches are the same read by worker processes or not, and others in the next epoch."""
    data = open_data(str(paint("train", blue=8, red=8)), seed=0)
    pictures = Pictures(data.train, varied(32, crop="area", mirrored=True), seed=3)

    def read(workers: int, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        loader = Loader(pictures, Batches(len(data.train), 4, 3), workers=workers, pin_memory=False)
        list(loader.epoch(epoch - 1))  # an epoch before must not matter
        return list(loader.epoch(epoch))

    alone, together, later = read(0, 2), read(2, 2), read(0, 3)

    assert all(torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(alone, together, strict=True))
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(alone, later, strict=True))


def test_reading_leaves_the_random_state_alone(paint: Painter) -> None:
    """Drawing a picture's variation takes nothing from the generator that dropout uses."""
    data = open_data(str(paint("train", blue=4, red=4)), seed=0)
    before = torch.random.get_rng_state()

    assert Pictures(data.train, varied(32, crop="area", mirrored=True), seed=3)[1, 0] is not None

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes(paint: Painter, workers: int) -> None:
    """An image that breaks while training runs ends it with one sentence, from worker processes too."""
    data = open_data(str(paint("train", blue=4, red=4)), seed=0)
    data.train[2].path.unlink()
    pictures = Pictures(data.train, varied(32, crop="area", mirrored=True), seed=3)
    loader = Loader(pictures, Batches(len(data.train), 2, 3), workers=workers, pin_memory=False)

    with pytest.raises(ResServeError, match=r"^Cannot read an image: .*png \(No such file or directory\)\.$"):
        list(loader.epoch(1))
