"""A small model that really tells digits apart, made in seconds: for tests that ask whether an answer is right."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from torch import Tensor, nn

from models import Checkpoint, build, save_checkpoint

SIZE = 16
SCANS = 800
HELD_OUT = 200
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


scans = cache(load_digits)  # it parses a text file


def digit(number: int) -> Image.Image:
    """A scan as a picture of the size that the model takes."""
    pixels = (scans().images[number] * (255 / 16)).round().astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def held_out(label: int) -> int:
    """A scan of this digit that the model was not fitted on."""
    targets = scans().target
    return next(number for number in range(SCANS - HELD_OUT, SCANS) if targets[number] == label)


def write_checkpoint(path: Path) -> float:
    """Fit the last layer of a ResNet-20 with random convolutions, save it, and return its held-out accuracy."""
    torch.manual_seed(0)
    network = build("resnet20", num_classes=10)
    targets = scans().target[:SCANS]
    images = np.stack([np.asarray(digit(number)) for number in range(SCANS)])
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - _channels(MEAN)) / _channels(STD)
    head, network.fc = network.fc, nn.Identity()
    with torch.inference_mode():
        network.train()(pixels[:256])  # settles the running statistics of the batch norms
        features = torch.cat([network.eval()(part) for part in pixels.split(256)]).numpy()
    network.fc = head
    fit = RidgeClassifier(alpha=1e-6).fit(features[:-HELD_OUT], targets[:-HELD_OUT])
    # Scores of one against all others, from -1 to 1, become logits that decide.
    head.weight.data = torch.tensor(10 * fit.coef_, dtype=torch.float32)
    head.bias.data = torch.tensor(10 * fit.intercept_, dtype=torch.float32)
    top1 = float(fit.score(features[-HELD_OUT:], targets[-HELD_OUT:]))
    save_checkpoint(
        path,
        Checkpoint(
            architecture="resnet20",
            arguments={"num_classes": 10},
            state_dict=network.state_dict(),
            labels=[f"digit {label}" for label in range(10)],
            input_size=SIZE,
            resize=SIZE,
            mean=MEAN,
            std=STD,
            metrics={"top1": top1},
            metrics_data="digits",
        ),
    )
    return top1


def _channels(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
