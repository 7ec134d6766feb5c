"""Probes: known Jacobians, and nothing changed by looking."""

import pytest
import torch
from torch import nn

from models import build
from paper.probes import probe_blocks, probe_layers, without_batch_norm
from training.loader import Batch


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Random images of 8 pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (16,), generator=generator)


def test_probing_changes_nothing(batch: Batch) -> None:
    """Weights, running statistics and gradients are as before."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    probe_layers(model, batch)
    probe_blocks(model, batch)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_layer_with_weights_is_probed(batch: Batch) -> None:
    """The main path of a 20-layer network has 20 of them; projections on shortcuts are not among them."""
    assert len(probe_layers(build("resnet20", num_classes=10, shortcut="C"), batch)) == 20


def test_a_gradient_is_the_one_that_autograd_gives(batch: Batch) -> None:
    """The classifier's norm is that of the cross-entropy's gradient, computed here by hand."""
    torch.manual_seed(0)
    model = build("plain20", num_classes=10)
    features: list[torch.Tensor] = []
    hook = model.fc.register_forward_hook(lambda _, args, out: features.extend([args[0].detach(), out.detach()]))

    probe = probe_layers(model, batch)[-1]
    hook.remove()

    inputs, logits = features
    error = (logits.softmax(1) - nn.functional.one_hot(batch[1], 10)) / len(batch[1])
    assert probe.gradient == pytest.approx(float((error.T @ inputs).norm()), rel=1e-4)


def test_a_silent_residual_block_is_the_identity(batch: Batch) -> None:
    """With F = 0 the Jacobian of F(x) + x is the identity: gain 1, diagonal 1, and nothing from the branch."""
    for probe in probe_blocks(build("resnet20", num_classes=10, zero_init_residual=True), batch):
        assert (probe.branch, probe.whole, probe.diagonal) == pytest.approx((0, 1, 1))


def test_a_plain_block_that_copies_has_a_diagonal_of_one(batch: Batch) -> None:
    """Convolutions that copy their input, which is never negative here, have the identity as their Jacobian."""
    model = without_batch_norm(build("plain20", num_classes=10), gain=2)
    for block in (module for module in model.layer1 if hasattr(module, "conv1")):
        nn.init.dirac_(block.conv1.weight)
        nn.init.dirac_(block.conv2.weight)
    model.relu = nn.Softplus()  # keeps what enters the first block above zero, where its ReLU is the identity

    probe = probe_blocks(model, batch)[0]

    assert (probe.branch, probe.diagonal) == pytest.approx((1, 1))


def test_the_initialisation_decides_without_batch_norm(batch: Batch) -> None:
    """Each layer multiplies a gradient's variance by half its gain: 16 layers with gain 1 leave 1/256 of its length."""

    def growth(gain: float) -> float:
        torch.manual_seed(0)
        probes = probe_layers(without_batch_norm(build("plain20", num_classes=10), gain), batch)
        return probes[2].signal / probes[18].signal

    assert growth(1) / growth(2) == pytest.approx(2**-8, rel=0.5)
    assert growth(4) / growth(2) == pytest.approx(2**8, rel=0.5)
