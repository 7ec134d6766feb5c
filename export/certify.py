"""PyTorch's answers on the golden images, and the bounds that any other runtime must keep to."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.replay import Images, replay
from resserve.manifest import Certificate, InputSpec, Logits

# Of the largest golden logit. Another order of float32 sums moves logits by about 1e-6 of it (measured over the
# catalogue), a slightly wrong mean, crop or layout by more than 1e-2: this bound has room on both sides.
FP32_TOLERANCE = 1e-4


def reference_logits(network: nn.Module, images: Images, spec: InputSpec) -> Logits:
    """PyTorch's logits [M, classes] of uint8 images [M, H, W, 3], normalised as in training, one image at a time."""
    mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
    std = torch.tensor(spec.std).view(1, 3, 1, 1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    network.eval()
    with torch.inference_mode():
        return np.concatenate([network((one[None] / 255 - mean) / std).numpy() for one in pixels])


def certify(model: Path, images: Images, golden: Logits) -> Certificate:
    """Hold an exported model to PyTorch's logits on the golden images.

    Raises:
        ResServeError: it drifts.
    """
    bounds = Certificate(
        images=len(images),
        tolerance=FP32_TOLERANCE * float(np.abs(golden).max()),
        min_top1_agreement=1,
        entries=[],
    )
    return bounds.model_copy(update={"entries": replay(model, images, golden, bounds)})
