"""Images: the pixels are training's, and no bytes do more than get refused in one sentence."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from resserve.images.errors import ImageError
from service.images import decode as service_images
from tests.support.encoded_images import PHOTOS, encode, noise, photo, png

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def decode(data: bytes, size: int | tuple[int, int], resize: int, interpolation: str = "bilinear") -> NDArray[np.uint8]:
    height, width = (size, size) if isinstance(size, int) else size
    out = np.full((height, width, 3), 77, np.uint8)
    service_images.decode(data, out, resize=resize, interpolation=interpolation)
    return out


def whole(data: bytes) -> NDArray[np.uint8]:
    """Neither resized nor cropped."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = ImageOps.exif_transpose(image).size
    return decode(data, (height, width), min(width, height))


def transformed(image: Image.Image, size: tuple[int, int], resize: int, interpolation: str) -> NDArray[np.uint8]:
    """What torchvision makes of it."""
    return np.asarray(CenterCrop(size)(Resize(resize, InterpolationMode(interpolation))(image)))


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[int, float]:
    """The largest, and the share of values that differ."""
    apart = np.abs(one.astype(int) - other)
    return int(apart.max()), float((apart > 0).mean())


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
@pytest.mark.parametrize(("size", "resize"), [(224, 256), (224, 232), (64, 64), (299, 342)])
def test_photographs_agree_with_torchvision(path, size, resize):
    """A real photograph differs from torchvision's transform by at most 1/255, in under 1 % of values."""
    with Image.open(path) as image:
        expected = transformed(image.convert("RGB"), (size, size), resize, "bilinear")

    largest, share = difference(decode(path.read_bytes(), size, resize), expected)

    assert largest <= 1
    assert share < 0.01


@settings(deadline=None, max_examples=150)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    resize=st.integers(1, 300),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_any_shape_agrees_with_torchvision(width, height, resize, size, interpolation):
    """Resize, crop and padding are torchvision's for every shape: even noise differs by rounding alone."""
    image = Image.fromarray(noise(height, width, 3))

    largest, _ = difference(
        decode(encode(image, "PNG"), size, resize, interpolation), transformed(image, size, resize, interpolation)
    )

    assert largest <= 2


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (33, 17), (500, 375), (641, 427)])
def test_jpeg_is_decoded_as_pillow_does(subsampling, progressive, size):
    """Every subsampling, progressive or not, odd sizes too: bit for bit the pixels of Pillow's decoder."""
    data = encode(photo(size), "JPEG", subsampling=subsampling, progressive=progressive, quality=85)

    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(whole(data), np.asarray(image))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(form, orientation):
    """All eight EXIF orientations come out upright, as Pillow's exif_transpose has them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo((60, 40)), form, exif=exif)

    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    assert expected.shape == ((60, 40, 3) if orientation > 4 else (40, 60, 3))
    assert np.array_equal(whole(data), expected)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", mode) for mode in ("L", "RGB", "CMYK")]
    + [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    + [("WebP", mode) for mode in ("L", "RGB", "RGBA")]
    + [("GIF", mode) for mode in ("1", "L", "P", "RGB", "RGBA")]
    + [("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")]
    + [("TIFF", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")],
)
def test_modes_become_rgb(form, mode):
    """Grey, palette, alpha (dropped) and CMYK come out as Pillow's convert has them."""
    data = encode(photo((60, 40)).convert(mode), form)

    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(whole(data), np.asarray(image.convert("RGB")))


def test_palette_with_transparency():
    """Colours under transparent pixels count, and nothing warns."""
    data = encode(photo((60, 40)).convert("P"), "PNG", transparency=bytes(range(256)))

    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(whole(data), np.asarray(image.convert("RGBA"))[..., :3])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(form):
    """16-bit grey keeps its high byte; black to white stays black to white."""
    ramp = np.linspace(0, 65535, 40 * 60, dtype=np.uint16).reshape(40, 60)

    assert np.array_equal(whole(encode(Image.fromarray(ramp), form)), np.repeat((ramp >> 8)[..., None], 3, axis=2))


def test_sixteen_bit_colour_is_scaled():
    """16-bit RGB keeps its high bytes."""
    values = np.random.default_rng(0).integers(0, 65536, (40, 60, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    assert np.array_equal(whole(png(60, 40, 16, 2, rows)), values >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_white_are_refused(mode):
    """32-bit pixels have no agreed range."""
    data = encode(photo((60, 40)).convert("L").convert(mode), "TIFF")

    with pytest.raises(ImageError, match="32-bit"):
        decode(data, 8, 8)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (1, 5_000_000), (5_000_000, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_extreme_shapes_resize_only_what_is_seen(size, interpolation):
    """A line of five million pixels, which would be 256 times as long once resized, gives its middle."""
    width, height = size
    value = np.uint8(np.arange(max(size)) // 16 % 256).reshape(height, width)
    value[value.shape[0] // 2, value.shape[1] // 2] = middle = 200

    out = decode(encode(Image.fromarray(value), "PNG", compress_level=1), 224, 256, interpolation)

    assert abs(int(out[112, 112, 0]) - middle) < 100
    assert out.std() < 80


def test_writes_into_a_view():
    """The array given may be one slot of many; the others keep their pixels."""
    slots = np.full((3, 224, 224, 3), 7, np.uint8)

    service_images.decode(PHOTOS[0].read_bytes(), slots[1], resize=256)

    assert (slots[[0, 2]] == 7).all()
    assert np.array_equal(slots[1], decode(PHOTOS[0].read_bytes(), 224, 256))


def test_threads_do_not_disturb_each_other():
    """Eight threads decoding all photographs at once get what one thread gets."""
    files = [path.read_bytes() for path in PHOTOS] * 4
    solo = [decode(data, 224, 256) for data in files[: len(PHOTOS)]] * 4

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, 224, 256), files))

    assert all(map(np.array_equal, solo, together))
