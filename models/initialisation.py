"""The initialisation of He et al. 2015, "Delving Deep into Rectifiers" (arXiv 1502.01852)."""

from torch import nn


def initialise(model: nn.Module, head: nn.Linear) -> None:
    """Fill every parameter of a network in place.

    Layers before a ReLU keep the variance of what passes them (section 2.2): convolutions that of the gradient
    (equation 14), linear layers that of the activations (equation 10). Batch norms start as the identity and biases
    at zero. No ReLU follows the head, whose logits start near zero, as in VGG: standard deviation 0.01.

    Args:
        model: the whole network.
        head: its last linear layer.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif module is head:
            nn.init.normal_(module.weight, std=0.01)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
