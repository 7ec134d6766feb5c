"""PyTorch's answers on the golden images, and the bounds that any other runtime must keep to."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import torch
from torch import nn

from export.replay import Images, replay
from resserve.certificate import REFERENCE_ENGINE, Certificate
from resserve.errors import ResServeError
from resserve.golden import Logits
from resserve.manifest import InputSpec

Precision = Literal["fp32", "int8"]

# Bounds are shares of the largest golden logit. In float32, ONNX Runtime and PyTorch differ by 9e-6 of it for ResNet-50
# and by 2.4e-4 for an untrained ResNet-152, at 224 px. There PyTorch is itself 1.6e-4 away from float64: rounding grows
# with depth. Mistakes of preprocessing move logits by more: a division by 256 by 4e-3, a shift of one pixel by 0.08.
FP32_TOLERANCE = 1e-3

# Measured: 0.02 to 0.04 for trained networks calibrated on their own data. Untrained ones magnify rounding with depth,
# up to 0.23 (ResNet-152), and their top answers mean nothing: of these int8 versions only gross damage is refused.
INT8_TOLERANCE = 0.25
INT8_UNTRAINED_TOLERANCE = 0.5
# A top answer that int8 may turn over: one of eight.
INT8_AGREEMENT = 7 / 8


def reference_logits(network: nn.Module, images: Images, spec: InputSpec) -> Logits:
    """PyTorch's logits [M, classes] of uint8 images [M, H, W, 3], normalised as in training, one image at a time.

    Raises:
        ResServeError: they are not finite, or all zero, so that nothing can be compared with them.
    """
    mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
    std = torch.tensor(spec.std).view(1, 3, 1, 1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    network.eval()
    with torch.inference_mode():
        logits = np.concatenate([network((one[None] / 255 - mean) / std).numpy() for one in pixels])
    if not np.isfinite(logits).all() or not logits.any():
        raise ResServeError(
            "The network's own logits on real images are not finite, or all zero; train again with a lower --lr."
        )
    return logits


def certify(model: Path, images: Images, golden: Logits, *, precision: Precision, untrained: bool) -> Certificate:
    """Hold an exported model to PyTorch's float32 logits on the golden images.

    Raises:
        ResServeError: it drifts.
    """
    share, agreement = FP32_TOLERANCE, 1.0
    if precision == "int8":
        share, agreement = (INT8_UNTRAINED_TOLERANCE, 0.0) if untrained else (INT8_TOLERANCE, INT8_AGREEMENT)
    bounds = Certificate(
        engine=REFERENCE_ENGINE,
        compute=precision,
        engine_version=onnxruntime.__version__,
        tolerance=share * float(np.abs(golden).max()),
        min_top1_agreement=agreement,
        entries=[],
    )
    return bounds.model_copy(update={"entries": replay(model, images, golden, bounds)})
