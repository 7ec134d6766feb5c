"""The networks that torchvision has too: the same names, shapes, order and logits."""

import math

import pytest
import torch
import torchvision

import models

SHARED = [name for name in models.CATALOGUE if hasattr(torchvision.models, name)]


def _theirs(name: str) -> torch.nn.Module:
    """What torchvision builds, with weights of He's variance from one pool of noise: drawing 130 M is slow."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(100_003, generator=generator)
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(num_classes=10)
    model.to_empty(device="cpu")
    for key, tensor in model.state_dict().items():
        if tensor.dim() > 1:
            noise = pool.repeat(math.ceil(tensor.numel() / len(pool)))[: tensor.numel()]
            tensor.copy_(noise.view_as(tensor) * math.sqrt(2 / tensor[0].numel()))
        elif tensor.dtype == torch.long:
            tensor.zero_()
        else:
            # Biases, and batch norms' weights, means and variances; all positive, as variances must be.
            tensor.uniform_(*((0.0, 0.1) if key.endswith(("bias", "mean")) else (0.5, 1.5)), generator=generator)
    return model.eval()


def test_every_network_of_the_contract_is_compared() -> None:
    """The comparison covers ResNet-18 to 152, VGG-11 to 19 with and without batch norm, and AlexNet."""
    resnets = [f"resnet{layers}" for layers in (18, 34, 50, 101, 152)]
    vggs = [f"vgg{layers}{suffix}" for layers in (11, 13, 16, 19) for suffix in ("", "_bn")]

    assert [*resnets, *vggs, "alexnet"] == SHARED


@pytest.mark.parametrize("name", SHARED)
def test_weights_and_logits_agree(name: str) -> None:
    """Each library's state_dict loads strictly in the other, and logits agree to 1e-5."""
    theirs = _theirs(name)
    with torch.device("meta"):
        ours = models.build(name, num_classes=10)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    ours.eval()
    images = torch.randn(2, 3, 64, 64)

    theirs.load_state_dict(ours.state_dict(), strict=True, assign=True)

    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.inference_mode():
        expected, actual = theirs(images), ours(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_logits_agree_at_the_published_size() -> None:
    """ResNet-50's logits agree to 1e-5 at 224 pixels and 1000 classes, after a full copy of the weights."""
    theirs = torchvision.models.resnet50().eval()
    ours = models.build("resnet50").eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 224, 224)

    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


def test_dropout_is_where_torchvision_has_it() -> None:
    """In training mode too, VGG and AlexNet give torchvision's logits for the same random state."""
    for name in ("vgg11", "alexnet"):
        theirs = _theirs(name).train()
        with torch.device("meta"):
            ours = models.build(name, num_classes=10)
        ours.load_state_dict(theirs.state_dict(), assign=True)
        images = torch.randn(2, 3, 64, 64)

        torch.manual_seed(1)
        expected = theirs(images)
        torch.manual_seed(1)
        torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=0)
