"""A network as one ONNX graph from uint8 pixels to logits."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from resserve.errors import ResServeError
from resserve.manifest import InputSpec

INPUT = "images"
OUTPUT = "logits"

# Protocol buffers, which an ONNX file is, end at 2 GiB.
MAX_BYTES = 2**31 - 1


class FixedPool(nn.Module):
    """nn.AdaptiveAvgPool2d for the one height and width seen while exporting.

    The adaptive layer would become a ReduceMean or gathers and transposes; where the windows do not overlap, this
    becomes one AveragePool, for which ONNX Runtime has blocked and int8 kernels, one Expand, or nothing.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, height, width]."""
        seen = tuple(x.shape[2:])
        if seen == self.size:
            return x
        if seen == (1, 1):
            return x.expand(-1, -1, *self.size)
        if all(side % wanted == 0 for side, wanted in zip(seen, self.size, strict=True)):
            return nn.functional.avg_pool2d(x, [side // wanted for side, wanted in zip(seen, self.size, strict=True)])
        return nn.functional.adaptive_avg_pool2d(x, self.size)


class PixelsToLogits(nn.Module):
    """The network with its preprocessing: uint8 [N, H, W, 3] RGB to float32 [N, classes]."""

    def __init__(self, network: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.network = network
        # (x / 255 - mean) / std with one subtraction and one multiplication.
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(spec.std).view(1, 3, 1, 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise, and run the network."""
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        return self.network((x - self.mean) * self.scale)


def write_graph(network: nn.Module, spec: InputSpec, path: Path) -> None:
    """Write a network as ONNX: input `images` uint8 [N, H, W, 3], output `logits` float32 [N, classes], N free.

    Batch norm is folded into the convolutions by the exporter's optimiser. The network itself is not changed.

    Raises:
        ResServeError: the network is too large for one ONNX file.
    """
    module = PixelsToLogits(_with_fixed_pools(network), spec).eval()
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > MAX_BYTES:
        raise ResServeError(
            f"The network's {size / 2**30:.1f} GiB exceed the 2 GiB of an ONNX file; use a smaller one."
        )
    # A batch of 2, as torch.export would take a batch of 1 for a constant.
    example = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("N")}},
        )
        # What the exporter notes about its source, this machine's paths included, is of no use to a runtime.
        for node in program.model.graph:
            node.metadata_props.clear()
            node.doc_string = None
        program.save(path, external_data=False)


def _with_fixed_pools(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                height, width = child.output_size if isinstance(child.output_size, tuple) else (child.output_size,) * 2
                setattr(parent, name, FixedPool(height, width))
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress notes and deprecation warnings, which the user cannot act on, off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
