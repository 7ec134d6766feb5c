"""From a float32 graph to int8: weights per channel, activations by the ranges that real images take."""

import logging
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.graph import INPUT
from export.replay import Images


class _Reader(CalibrationDataReader):
    """Feeds images one at a time."""

    def __init__(self, images: Images) -> None:
        self.remaining = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        """The next input, or None at the end."""
        image = next(self.remaining, None)
        return None if image is None else {INPUT: image[None]}


def write_int8(model: Path, images: Images, target: Path) -> None:
    """Quantise a model that `write_graph` wrote.

    Activations are uint8 and weights int8, as ONNX Runtime's fast x86 kernels take them: with int8 activations it
    leaves a third of ResNet-50's convolutions in float32 and gains half as much. Normalisation and the last layer stay
    in float32: they cost nothing, and a quantised last layer clips the largest logits.

    Args:
        model: the float32 graph.
        images: uint8 [M, H, W, 3], to find the ranges with.
        target: the file to write.
    """
    nodes = onnx.load(model, load_external_data=False).graph.node
    first = next(index for index, node in enumerate(nodes) if node.op_type == "Conv")
    last = [node.name for node in nodes if node.op_type == "Gemm"][-1]
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the quantiser suggests a pre-processing that the exporter has done
    try:
        quantize_static(
            model,
            target,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[*(node.name for node in nodes[:first]), last],
        )
    finally:
        logging.disable(disabled)
