"""The networks of Simonyan and Zisserman 2014 (arXiv 1409.1556), the paper's baselines."""

from collections import OrderedDict

from torch import nn

from models.initialisation import initialise

# Table 1, columns A, B, D and E: 3x3 convolutions in each of the five stages; a 2x2 max-pooling ends each.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def vgg(layers: int, *, batch_norm: bool, num_classes: int) -> nn.Sequential:
    """VGG: float [N, 3, H, W], H and W at least 32, to logits [N, num_classes].

    Parameter names, shapes and order are torchvision's, whose adaptive pooling frees the input size. Batch norm came
    after the paper; with it the network also trains from scratch at depth without pre-training.

    Args:
        layers: 11, 13, 16 or 19 layers with weights.
        batch_norm: put one after every convolution.
        num_classes: width of the logits.
    """
    features: list[nn.Module] = []
    channels = 3
    for width, convolutions in zip(WIDTHS, CONVOLUTIONS[layers], strict=True):
        for _ in range(convolutions):
            features.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
            if batch_norm:
                features.append(nn.BatchNorm2d(width))
            features.append(nn.ReLU(inplace=True))
            channels = width
        features.append(nn.MaxPool2d(kernel_size=2, stride=2))
    classifier = nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, num_classes),
    )
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            avgpool=nn.AdaptiveAvgPool2d(7),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )
    initialise(model, head=classifier[-1])
    return model
