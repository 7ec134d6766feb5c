"""Networks read off their modules: layers, counts and shortcuts."""

import pytest
import torch

from models import find
from paper.tracing import blocks, trace


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "plain34", "vgg19", "resnet20"])
def test_traced_layers_cost_what_the_network_does(name: str) -> None:
    """The layers' multiply-adds add up to the catalogue's count."""
    entry = find(name)
    with torch.device("meta"):
        model = entry.build(num_classes=entry.classes)

    layers = trace(model, entry.input_size)

    assert sum(layer.multiply_adds for layer in layers) == entry.counts.multiply_adds


@pytest.mark.parametrize(("name", "expected"), [("resnet152", 152), ("plain34", 34), ("vgg16", 16), ("resnet110", 110)])
def test_a_network_has_the_layers_of_its_name(name: str, expected: int) -> None:
    """Convolutions and linear layers of the main path are what the name counts; projections are not."""
    with torch.device("meta"):
        model = find(name).build()

    layers = trace(model, find(name).input_size)

    assert sum(layer.has_weights and not layer.is_shortcut for layer in layers) == expected


def test_layers_come_in_the_order_of_a_forward_pass() -> None:
    """Sizes never grow on the way from the image to the classes."""
    with torch.device("meta"):
        layers = trace(find("resnet34").build(), 224)

    assert [layer.name for layer in layers[:3]] == ["conv1", "maxpool", "layer1.0.conv1"]
    assert layers[-1].name == "fc"
    assert all(layer.output_size <= layer.input_size for layer in layers)


def test_blocks_are_found_by_name() -> None:
    """ResNet-34 has 16 blocks, in four stages."""
    with torch.device("meta"):
        found = blocks(find("resnet34").build())

    assert len(found) == 16
    assert list(found)[-1] == "layer4.2"
