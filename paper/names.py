"""Names of the catalogue as the paper writes them."""


def family(network: str) -> str:
    """`resnet`, `plain` or `vgg`."""
    return network.rstrip("0123456789")


def depth(network: str) -> int:
    """Layers with weights."""
    return int(network.removeprefix(family(network)))


def title(network: str) -> str:
    """E.g. plain-20, ResNet-20."""
    return f"{family(network).replace('resnet', 'ResNet')}-{depth(network)}"


def sort_key(network: str) -> tuple[str, int]:
    """Families apart, shallow networks first."""
    return family(network), depth(network)
