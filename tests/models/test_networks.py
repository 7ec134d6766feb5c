"""What `models.build` builds: shapes, shortcut options, initialisation, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from resserve.errors import ResServeError

# The deepest CIFAR networks are the same code as the others with another n, at up to sixty times the cost.
QUICK = [name for name in models.CATALOGUE if name not in ("resnet1202", "resnet110", "plain110")]
RESIDUAL = [name for name in QUICK if models.CATALOGUE[name].shortcut is not None]


def _count(name: str, **arguments: object) -> models.Counts:
    with torch.device("meta"):
        model = models.build(name, num_classes=10, **arguments)
    return models.count(model, 64, 64)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.sampled_from(QUICK), st.integers(1, 3000), st.integers(1, 3))
def test_any_size_and_any_classes(data: st.DataObject, name: str, classes: int, batch: int) -> None:
    """Every network maps [N, 3, H, W] to [N, classes] for any H and W from its smallest size on."""
    smallest = models.CATALOGUE[name].minimum_size
    height, width = (data.draw(st.integers(smallest, 300)) for _ in range(2))
    models.CATALOGUE[name].check_size(height, width)
    with torch.device("meta"):
        model = models.build(name, num_classes=classes).eval()
        logits = model(torch.empty(batch, 3, height, width))

    assert logits.shape == (batch, classes)


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(RESIDUAL),
    st.sampled_from(["A", "B", "C"]),
    st.integers(1, 80),
    st.integers(1, 80),
)
def test_every_shortcut_at_any_size(name: str, shortcut: str, height: int, width: int) -> None:
    """Shortcuts and residual branches keep the same shape for odd sizes too."""
    with torch.device("meta"):
        model = models.build(name, num_classes=2, shortcut=shortcut).eval()
        assert model(torch.empty(1, 3, height, width)).shape == (1, 2)


@pytest.mark.parametrize("name", [name for name, entry in models.CATALOGUE.items() if entry.minimum_size > 1])
def test_the_smallest_size_is_the_smallest(name: str) -> None:
    """One pixel less than the smallest size is refused in words, and does break the network."""
    size = models.CATALOGUE[name].minimum_size - 1
    with torch.device("meta"):
        model = models.build(name, num_classes=2).eval()
        with pytest.raises(RuntimeError):
            model(torch.empty(1, 3, size, 300))

    with pytest.raises(ResServeError, match=f"at least {size + 1}x{size + 1} pixels, not 300x{size}"):
        models.CATALOGUE[name].check_size(size, 300)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_shortcut_parameters(name: str) -> None:
    """Option A adds no parameters to the plain network; B and C add exactly their projections and batch norms."""
    plain = _count(name.replace("resnet", "plain")).parameters
    changes = sum(inside * outside + 2 * outside for inside, outside in ((64, 128), (128, 256), (256, 512)))
    depths = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}[name]
    same = [64] * depths[0] + [128] * (depths[1] - 1) + [256] * (depths[2] - 1) + [512] * (depths[3] - 1)

    assert _count(name, shortcut="A").parameters == plain
    assert _count(name, shortcut="B").parameters == plain + changes
    assert _count(name, shortcut="C").parameters == plain + changes + sum(w * w + 2 * w for w in same)


@pytest.mark.parametrize("name", RESIDUAL)
def test_shortcut_defaults_and_order(name: str) -> None:
    """A costs less than B, B less than C; the default is B for ImageNet networks and A for the CIFAR family."""
    a, b, c = (_count(name, shortcut=option) for option in "ABC")

    assert a.parameters < b.parameters < c.parameters
    assert a.multiply_adds < b.multiply_adds < c.multiply_adds
    assert _count(name) == (a if models.CATALOGUE[name].family == "cifar-resnet" else b)


def test_option_c_adds_thirteen_projections() -> None:
    """ResNet-34 with option C has thirteen projections more than with B, as the paper counts them (section 4.1)."""

    def projections(option: str) -> int:
        with torch.device("meta"):
            names = models.build("resnet34", shortcut=option).state_dict()
        return sum(name.endswith("downsample.0.weight") for name in names)

    assert (projections("A"), projections("B"), projections("C")) == (0, 3, 16)


@pytest.mark.parametrize(("name", "stage", "channels"), [("resnet18", "layer2", 64), ("resnet50", "layer1", 64)])
def test_option_a_is_the_strided_input_padded_with_zeros(name: str, stage: str, channels: int) -> None:
    """A block whose residual is zero passes every stride-th pixel on, and zeros in the channels that are new."""
    model = models.build(name, num_classes=2, shortcut="A", zero_init_residual=True).eval()
    block = model.get_submodule(stage)[0]
    images = torch.rand(2, channels, 7, 9)
    stride = 2 if stage == "layer2" else 1

    with torch.inference_mode():
        output = block(images.clone())

    torch.testing.assert_close(output[:, :channels], images[:, :, ::stride, ::stride], rtol=0, atol=0)
    assert output.shape[1] > channels
    assert output[:, channels:].abs().max() == 0


def test_zero_init_makes_blocks_their_shortcuts() -> None:
    """The last batch norm of a block starts at zero on request, and at one otherwise."""
    for name, last in (("resnet18", "bn2"), ("resnet50", "bn3"), ("resnet20", "bn2")):
        for zero in (True, False):
            state = models.build(name, num_classes=2, zero_init_residual=zero).state_dict()
            weights = torch.cat([w for key, w in state.items() if key.endswith(f"{last}.weight") and "layer" in key])
            assert weights.unique().tolist() == [0.0 if zero else 1.0]


@pytest.mark.parametrize("name", ["resnet18", "plain34", "vgg11", "alexnet", "resnet56"])
def test_initialisation_is_hes(name: str) -> None:
    """Convolutions start with a standard deviation of sqrt(2 / fan_out), biases at zero, the head at 0.01."""
    torch.manual_seed(0)
    model = models.build(name, num_classes=1000)
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]

    for conv in convolutions:
        fan_out = conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1]
        # The relative error of a standard deviation from n values is about 1 / sqrt(2n); five of those are allowed.
        tolerance = 5 / math.sqrt(2 * conv.weight.numel())
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=tolerance)
        assert conv.bias is None or conv.bias.abs().max() == 0
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.bias.abs().max() == 0


def test_stride_in_the_first_1x1() -> None:
    """On request the stride moves from the 3x3 to the first 1x1: the same weights, less work, other logits."""
    torch.manual_seed(0)
    ours = models.build("resnet50", num_classes=10).eval()
    papers = models.build("resnet50", num_classes=10, stride_in_1x1=True).eval()
    papers.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 64, 64)

    assert [conv.stride for conv in (ours.layer2[0].conv1, ours.layer2[0].conv2)] == [(1, 1), (2, 2)]
    assert [conv.stride for conv in (papers.layer2[0].conv1, papers.layer2[0].conv2)] == [(2, 2), (1, 1)]
    assert models.count(papers, 64, 64).multiply_adds < models.count(ours, 64, 64).multiply_adds
    with torch.inference_mode():
        assert not torch.allclose(papers(images), ours(images))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("resnet18", {"shortcut": "A"}), ("resnet20", {}), ("plain20", {}), ("vgg11", {})],
)
def test_graphs_are_free_of_the_data(name: str, arguments: dict[str, str]) -> None:
    """A network traced with two images is one graph for any batch size, with the module's logits."""
    model = models.build(name, num_classes=10, **arguments).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    graph = torch.export.export(model, (torch.randn(2, 3, 75, 75),), dynamic_shapes=((batch, None, None, None),))
    images = torch.randn(3, 3, 75, 75)

    with torch.inference_mode():
        torch.testing.assert_close(graph.module()(images), model(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet51", {}, "no network named 'resnet51'. Did you mean resnet50?.*alexnet"),
        ("resnet18", {"num_classes": 0}, "at least one class"),
        ("resnet18", {"shortcut": "D"}, "no shortcut option 'D'; choose A, B or C"),
        ("resnet18", {"stride_in_1x1": True}, "leave out stride_in_1x1"),
        ("plain34", {"shortcut": "A"}, "plain34 has no shortcuts"),
        ("vgg16", {"zero_init_residual": True}, "vgg16 has no shortcuts"),
    ],
)
def test_what_means_nothing_is_refused(name: str, arguments: dict[str, object], message: str) -> None:
    """Unknown names and options without a meaning for the network are refused in words."""
    with pytest.raises(ResServeError, match=message):
        models.build(name, **arguments)
