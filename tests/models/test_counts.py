"""Parameters and multiply-adds: against torch's own counter, and against what the papers print."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import models
from resserve.errors import ResServeError

# The counts of the published ImageNet weights, and the paper's layer sums at 32 pixels and 10 classes.
EXACT_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "alexnet": 61_100_840,
}


def _published(name: str, quantity: str) -> float:
    (figure,) = [figure for figure in models.CATALOGUE[name].published if figure.quantity == quantity]
    return figure.value


def _named(quantity: str) -> list[str]:
    return [
        name
        for name, entry in models.CATALOGUE.items()
        if any(figure.quantity == quantity for figure in entry.published)
    ]


@pytest.mark.parametrize("name", EXACT_PARAMETERS)
def test_imagenet_parameters_are_exact(name: str) -> None:
    """Every ImageNet network has exactly the parameters of its published weights."""
    assert models.CATALOGUE[name].counts.parameters == EXACT_PARAMETERS[name]


@pytest.mark.parametrize("layers", [20, 32, 44, 56, 110, 1202])
def test_cifar_parameters_are_the_papers(layers: int) -> None:
    """A CIFAR network has the sum of section 4.2's layers, which Table 6 prints rounded to two or three digits."""
    n = (layers - 2) // 6
    widths = [3, *[16] * (2 * n + 1), *[32] * (2 * n), *[64] * (2 * n)]
    convolutions = sum(9 * before * after for before, after in pairwise(widths))
    batch_norms = 2 * sum(widths[1:])

    parameters = models.CATALOGUE[f"resnet{layers}"].counts.parameters

    assert parameters == convolutions + batch_norms + 64 * 10 + 10
    printed = _published(f"resnet{layers}", "parameters")
    assert abs(parameters - printed) <= (0.05e6 if printed > 1e6 else 0.005e6)


@pytest.mark.parametrize("layers", [20, 32, 44, 56, 110])
def test_plain_networks_have_their_residual_twins_cost(layers: int) -> None:
    """Option A adds neither parameters nor multiply-adds to the plain network of the same depth (section 4.2)."""
    assert models.CATALOGUE[f"plain{layers}"].counts == models.CATALOGUE[f"resnet{layers}"].counts


@pytest.mark.parametrize("name", [name for name in models.CATALOGUE if name != "resnet1202"])
def test_multiply_adds_are_half_of_torchs_flops(name: str) -> None:
    """The count equals that of torch's FLOP counter, which sees operators, not modules, and counts two a pair."""
    entry = models.CATALOGUE[name]
    with torch.device("meta"):
        model = models.build(name, num_classes=entry.classes).eval()
        images = torch.empty(1, 3, entry.input_size, entry.input_size)
    with FlopCounterMode(display=False) as flops:
        model(images)

    assert entry.counts.multiply_adds * 2 == flops.get_total_flops()


@pytest.mark.parametrize("name", _named("multiply_adds"))
def test_multiply_adds_are_the_papers(name: str) -> None:
    """With the paper's strides, counts agree to 2 % with the two or three digits that the paper prints."""
    entry = models.CATALOGUE[name]
    with torch.device("meta"):
        model = models.build(name, stride_in_1x1=entry.has_bottlenecks)

    counted = models.count(model, 224, 224).multiply_adds

    assert counted == pytest.approx(_published(name, "multiply_adds"), rel=0.02)


def test_resnet152_needs_fewer_multiply_adds_than_vgg16() -> None:
    """At 224 pixels, 152 residual layers cost 11.5 G multiply-adds, and VGG-16 costs 15.5 G."""
    resnet152 = models.CATALOGUE["resnet152"].counts.multiply_adds
    vgg16 = models.CATALOGUE["vgg16"].counts.multiply_adds

    assert (round(resnet152 / 1e9, 1), round(vgg16 / 1e9, 1)) == (11.5, 15.5)
    assert resnet152 < vgg16


def test_counting_leaves_the_model_alone() -> None:
    """A count changes no weight, statistic, mode or hook of the model, and counts one image of the given shape."""
    model = models.build("resnet20", num_classes=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    small, wide = models.count(model, 32, 32), models.count(model, 32, 64)

    head = 64 * 3
    assert wide.multiply_adds - head == 2 * (small.multiply_adds - head)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_too_small_an_image_cannot_be_counted() -> None:
    """Counting at a size that the strides leave nothing of says so."""
    with torch.device("meta"):
        model = models.build("vgg11", num_classes=2)

    with pytest.raises(ResServeError, match="An image of 31x40 pixels does not fit"):
        models.count(model, 40, 31)
