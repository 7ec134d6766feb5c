"""The graph: what is in the file, and that it computes what PyTorch does."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export.certify import FP32_TOLERANCE, reference_logits
from export.golden import RealImages, packaged
from export.graph import write_graph
from export.replay import BATCHES, open_session, run
from models import build
from resserve.errors import ResServeError
from resserve.manifest import InputSpec

QUICK: list[tuple[str, dict[str, Any]]] = [("resnet20", {}), ("resnet50", {})]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("resnet20", {"shortcut": "C"}),
    ("resnet18", {"shortcut": "A"}),
    ("plain20", {}),
    ("resnet110", {}),
    ("vgg11_bn", {}),
]


def _settled(architecture: str, images: RealImages, **options: Any) -> torch.nn.Module:
    """A network with random weights whose batch norms are not the identity, so that leaving one out shows."""
    torch.manual_seed(1)
    network = build(architecture, num_classes=10, **options)
    pixels = torch.from_numpy(images.calibration).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        network.train()(pixels)
    return network


@pytest.mark.parametrize(
    ("architecture", "options"),
    [*QUICK, *(pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS)],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_the_graph_is_clean_free_in_its_batch_and_right(
    architecture: str,
    options: dict[str, Any],
    spec: InputSpec,
    images: RealImages,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No batch norm, no-op or doubled weight is left, and logits are PyTorch's at every batch size."""
    network = _settled(architecture, images, **options)
    before = copy.deepcopy(network.state_dict())

    write_graph(network, spec, tmp_path / "model.onnx")

    assert capfd.readouterr() == ("", ""), "the exporter's notes reached the terminal"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    _check_clean(tmp_path / "model.onnx", network)
    session = open_session(tmp_path / "model.onnx")
    expected = reference_logits(network, images.golden, spec)
    for batch in BATCHES:
        difference = np.abs(run(session, images.golden, batch) - expected).max()
        assert difference <= FP32_TOLERANCE * np.abs(expected).max(), f"batch {batch}"


def _check_clean(path: Path, network: torch.nn.Module) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not {"BatchNormalization", "Identity", "Dropout", "Constant", "Shape"} & kinds.keys()
    modules = Counter(type(module).__name__ for module in network.modules())
    assert kinds["Conv"] == modules["Conv2d"]
    assert kinds["Transpose"] == 1
    assert not model.functions
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    weights = [entry.raw_data for entry in model.graph.initializer if len(entry.raw_data) > 64]
    assert len(set(weights)) == len(weights), "an initializer is there twice"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert sum(map(len, weights)) <= 4 * parameters


def test_the_contract_of_names_and_types(repository: Path) -> None:
    """A version's model takes uint8 `images` [N, 32, 32, 3] and gives float32 `logits` [N, 10]."""
    graph = onnx.load(repository / "alpha" / "1" / "model.onnx").graph

    described = [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    ]

    assert described == [
        ("images", onnx.TensorProto.UINT8, ["N", 32, 32, 3]),
        ("logits", onnx.TensorProto.FLOAT, ["N", 10]),
    ]


def test_a_network_beyond_onnx_is_refused(spec: InputSpec, tmp_path: Path) -> None:
    """More than 2 GiB of weights do not fit one file, which is said before anything is traced."""

    class Huge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(2**29, device="meta"))

    with pytest.raises(ResServeError, match=r"2\.0 GiB exceed"):
        write_graph(Huge(), spec, tmp_path / "model.onnx")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "node"), [(16, "Expand"), (32, "GatherND"), (112, None), (224, "AveragePool")])
def test_pools_keep_their_meaning_at_every_size(size: int, node: str | None, tmp_path: Path) -> None:
    """VGG's pooling to 7x7, from maps of 1, 2, 7 and 14 pixels, is what PyTorch computes, with the least nodes."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.MaxPool2d(16),
        torch.nn.AdaptiveAvgPool2d(7),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 7 * 7, 5),
    )
    spec = InputSpec(height=size, width=size, resize=size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    images = packaged(spec).golden

    write_graph(network, spec, tmp_path / "model.onnx")

    kinds = {entry.op_type for entry in onnx.load(tmp_path / "model.onnx").graph.node}
    assert kinds & {"Expand", "GatherND", "AveragePool", "ReduceMean", "Resize"} == ({node} if node else set())
    expected = reference_logits(network, images, spec)
    for batch in BATCHES:
        answered = run(open_session(tmp_path / "model.onnx"), images, batch)
        assert np.abs(answered - expected).max() <= FP32_TOLERANCE * np.abs(expected).max()
