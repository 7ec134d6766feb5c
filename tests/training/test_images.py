from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from resserve.errors import ResServeError
from training.images import default_resize, read_rgb, served, varied


@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 40), st.integers(0, 8))
def test_served_pixels(width: int, height: int, size: int, margin: int) -> None:
    """What validation sees is Pillow's antialiased bilinear resize of the shorter side, and the centre of it."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    resize = size + margin
    short, long = min(width, height), max(width, height)
    scaled = int(resize * long / short)
    target = (resize, scaled) if width <= height else (scaled, resize)

    seen = served(size, resize)(Image.fromarray(pixels))

    expected = Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR)
    left, top = round((expected.width - size) / 2), round((expected.height - size) / 2)
    assert (seen.dtype, tuple(seen.shape)) == (torch.uint8, (3, size, size))
    cut = np.asarray(expected)[top : top + size, left : left + size]
    assert np.array_equal(seen.permute(1, 2, 0).numpy(), cut)


@pytest.mark.parametrize("crop", ["area", "scale"])
@pytest.mark.parametrize("size", [32, 128, 224])
@pytest.mark.parametrize("shape", [(200, 300), (8, 8), (500, 90)])
def test_variations_fill_the_input(crop: str, size: int, shape: tuple[int, int]) -> None:
    """Training pictures are uint8 squares of the input size, whatever the image's shape."""
    image = Image.fromarray(np.full((*shape, 3), 200, np.uint8))

    seen = varied(size, crop=crop, mirrored=True)(image)

    assert (seen.dtype, tuple(seen.shape)) == (torch.uint8, (3, size, size))


@pytest.mark.parametrize(("mirrored", "expected"), [(True, {True, False}), (False, {False})])
def test_only_what_may_be_mirrored_is(mirrored: bool, expected: set[bool]) -> None:
    """A picture whose halves differ is seen mirrored only where that is allowed."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 20:] = 255
    transform = varied(32, crop="area", mirrored=mirrored)

    seen = [transform(Image.fromarray(pixels)).float() for _ in range(40)]

    assert {bool(picture[..., 4:16].mean() > picture[..., 16:28].mean()) for picture in seen} == expected


def test_sizes() -> None:
    """224 is cut from 256, as usual; small pictures are seen whole."""
    assert [default_resize(size) for size in (32, 64, 224, 299)] == [32, 64, 256, 342]


def test_modes(tmp_path: Path) -> None:
    """Greyscale, palette, transparent and 16-bit images come out as the RGB they show."""
    grey = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    rgb = np.stack([grey] * 3, axis=-1)
    pictures = {
        "grey": Image.fromarray(grey),
        "palette": Image.fromarray(grey).convert("P"),
        "alpha": Image.fromarray(np.dstack([rgb, grey])),
        "deep": Image.fromarray(grey.astype(np.uint16) << 8),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")

        assert np.array_equal(np.asarray(read_rgb(tmp_path / f"{name}.png")), rgb), name


def test_orientation(tmp_path: Path) -> None:
    """A photograph taken sideways is turned upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)

    upright = np.asarray(read_rgb(tmp_path / "photo.png"))

    assert upright.shape == (24, 16, 3)
    assert upright[:, 8:].min() == 255
    assert upright[:, :8].max() == 0


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"\xff\xd8\xff\xe0" * 9])
def test_unreadable(tmp_path: Path, content: bytes) -> None:
    """Whatever is wrong with a file, the error names it."""
    (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(ResServeError, match=r"a\.png \(.+\)\."):
        read_rgb(tmp_path / "a.png")


def test_reference_is_torchvisions(tmp_path: Path) -> None:
    """The served pixels equal torchvision's usual validation transform."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (375, 500, 3), dtype=np.uint8))
    usual = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])

    assert torch.equal(served(224, 256)(image), usual(image))
