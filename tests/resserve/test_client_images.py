"""What the client sends for an image."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from resserve.client.images import encode
from resserve.errors import InvalidInputError

SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))


@given(arrays(np.uint8, SHAPES))
def test_arrays_are_sent_without_loss(pixels: np.ndarray) -> None:
    """Any RGB pixels come out of what is sent exactly as they went in."""
    sent = Image.open(io.BytesIO(encode(pixels)))

    assert (sent.format, sent.mode) == ("PNG", "RGB")
    assert np.array_equal(sent, pixels)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"),
     ("CMYK", "TIFF"), ("F", "TIFF"), ("I", "TIFF")],
)  # fmt: skip
def test_pillow_images_are_sent_without_loss(mode: str, file_format: str) -> None:
    """Every mode goes out in a format that keeps it: PNG, or TIFF where PNG cannot hold it."""
    values = np.random.default_rng(0).integers(0, 2**16 if mode == "I;16" else 256, (5, 7, 4))
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16))
    elif mode in ("CMYK", "RGBA"):
        image = Image.frombytes(mode, (7, 5), values.astype(np.uint8).tobytes())
    else:
        image = Image.fromarray(values[..., :3].astype(np.uint8)).convert(mode)

    sent = Image.open(io.BytesIO(encode(image)))

    assert (sent.format, sent.mode) == (file_format, mode)
    assert np.array_equal(sent, image)


def test_a_photo_opened_with_pillow_is_turned_like_its_file() -> None:
    """The orientation that a photo's EXIF asks for is applied, as the service does with the file itself."""
    photo, file = Image.new("RGB", (40, 20)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    photo.save(file, "JPEG", exif=exif)

    sent = Image.open(io.BytesIO(encode(Image.open(file))))

    assert sent.size == (20, 40)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((2, 4, 4, 3), np.uint8),
              np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    """Another shape or type is refused with what it is and what it must be."""
    with pytest.raises(InvalidInputError, match=r"uint8 \[height, width, 3\]; this one is"):
        encode(array)


def test_a_truncated_photo_is_refused() -> None:
    """A Pillow image whose file breaks off cannot be sent, and says so."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    broken = Image.open(io.BytesIO(file.getvalue()[:600]))

    with pytest.raises(InvalidInputError, match="Cannot"):
        encode(broken)
