"""From an image file to the pixels a network sees: as served when judging, varied when training."""

from pathlib import Path

from PIL import Image
from torchvision.transforms import v2

from resserve.images.pixels import read

# Of ImageNet's training images, scaled to [0, 1]: torchvision's weights expect them, so fine-tuning does.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

SMALL = 128  # pixels; below, pictures are seen whole, as in the CIFAR experiments


def default_resize(size: int) -> int:
    """The shorter side before the centre crop: the usual 256 for 224; small pictures keep their margins."""
    return size if size < SMALL else round(size * 256 / 224)


def read_rgb(path: Path) -> Image.Image:
    """Read an image upright, as 8-bit RGB, exactly as the service will.

    Raises:
        ResServeError: it cannot be read or decoded.
    """
    return read(path)[0]


def served(size: int, resize: int) -> v2.Transform:
    """What the service does: PIL image to uint8 [3, size, size], shorter side to `resize`, centre crop."""
    return v2.Compose([_shorter_side(resize), v2.CenterCrop(size), v2.PILToTensor()])


def varied(size: int, *, crop: str, mirrored: bool) -> v2.Transform:
    """A variation for training: PIL image to uint8 [3, size, size].

    Args:
        size: side of the square, in pixels.
        crop: for pictures of at least 128 pixels, "area" (a random part, Szegedy et al. 2014, section 6) or "scale"
            (a random scale, as He et al. 2015, section 3.4); smaller ones are shifted, by up to a sixteenth or, as in
            their section 4.2, an eighth.
        mirrored: mirror every other picture.
    """
    if size < SMALL:
        cut = [_shorter_side(size), v2.RandomCrop(size, padding=size // (8 if crop == "scale" else 16))]
    elif crop == "scale":
        cut = [v2.RandomShortestSize(list(range(size * 256 // 224, size * 480 // 224 + 1))), v2.RandomCrop(size)]
    else:
        cut = [v2.RandomResizedCrop(size, scale=(0.35, 1.0))]
    mirror = [v2.RandomHorizontalFlip()] if mirrored else []
    return v2.Compose([*cut, *mirror, v2.PILToTensor()])


def _shorter_side(size: int) -> v2.Transform:
    return v2.Resize(size, interpolation=v2.InterpolationMode.BILINEAR)
