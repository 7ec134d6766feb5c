"""What the client sends for an image."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from resserve.client.images import encode
from resserve.errors import InvalidInputError
from tests.support.colour_service import BLUE, RED, ColourService, names

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
    """Another shape or type is refused with what it is and what it must be; it is a TypeError, too."""
    with pytest.raises(InvalidInputError, match=r"uint8 \[height, width, 3\]; this one is") as refused:
        encode(array)

    assert isinstance(refused.value, TypeError)


def test_a_truncated_photo_is_refused() -> None:
    """A Pillow image whose file breaks off cannot be sent, and says so."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    broken = Image.open(io.BytesIO(file.getvalue()[:600]))

    with pytest.raises(InvalidInputError, match="Cannot"):
        encode(broken)


def sources(path: Path) -> dict[str, object]:
    """The file's image in every form that is accepted."""
    data = path.read_bytes()
    pixels = np.asarray(Image.open(path))
    return {
        "path": path,
        "text": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "memory": io.BytesIO(data),
        "encoded array": np.frombuffer(data, np.uint8),
        "array": pixels,
        "reversed view": pixels[::-1][::-1],
        "memoryview of pixels": memoryview(pixels),
        "Pillow": Image.open(path),
        "tensor": torch.from_numpy(pixels.copy()),
        "encoded tensor": torch.frombuffer(bytearray(data), dtype=torch.uint8),
        "NumPy's own bytes": np.bytes_(data),
    }


def test_every_form_of_an_image_is_one_image(client: Any, tmp_path: Path) -> None:
    """Files, buffers, arrays, Pillow images and tensors are sent whole, alone, in a list and over a stream."""
    pixels = np.full((5, 7, 3), (10, 20, 200), np.uint8)
    pixels[2:, 3:] = (10, 10, 10)  # whose last bytes are line ends, where files are gone through by lines
    Image.fromarray(pixels).save(tmp_path / "blue.png")
    images = sources(tmp_path / "blue.png")
    with (tmp_path / "blue.png").open("rb") as file:
        alone = {name: client.classify(image) for name, image in {**images, "file": file}.items()}

    several = client.classify(list(sources(tmp_path / "blue.png").values()))
    streamed = [answer for _, answer in client.classify_stream(sources(tmp_path / "blue.png").values())]

    assert {answer.labels[0].name for answer in alone.values()} == {"blue"}
    assert names(several) == names(streamed) == ["blue"] * len(images)


def test_an_array_of_paths_is_several_images(client: Any, tmp_path: Path) -> None:
    """What holds paths instead of pixels, as a column of a table does, is gone through."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, pixels in zip(paths, (RED, BLUE), strict=True):
        Image.fromarray(pixels).save(path)

    assert names(client.classify(np.array([str(path) for path in paths]))) == ["red", "blue"]
    assert names(client.classify(np.array(paths, object))) == ["red", "blue"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "not a NoneType"),
        (5, "not a int"),
        ({"image": b"x"}, "not a dict"),
        (object(), "not a object"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"this one is uint8 \[3, 8, 8\]; move the channels last"),
        (torch.zeros(8, 8, 3), "this one is float32"),
        (torch.zeros(8, 8, 3, requires_grad=True), "is no array"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), r"this one is uint8 \[2, 8, 8, 3\]"),
        (io.StringIO("text"), "gave str instead of bytes: open the file with 'rb'"),
    ],
)
def test_what_is_no_image_is_a_type_error(client: Any, service: ColourService, value: object, says: str) -> None:
    """Anything else raises TypeError, which says what it is and what is accepted, and nothing is sent."""
    with pytest.raises(TypeError, match=says):
        client.classify(value)
    with pytest.raises(InvalidInputError):  # as all that a caller may want to catch
        client.classify(value)

    assert not service.calls


def test_one_image_is_no_stream(client: Any, tmp_path: Path) -> None:
    """A stream of images is not read out of one file, line by line or letter by letter."""
    (tmp_path / "a.png").write_bytes(b"line\n" * 9)
    with (tmp_path / "a.png").open("rb") as file:
        for one in (file, "a.png", b"a.png", RED):
            with pytest.raises(TypeError, match="Several images are asked for"):
                list(client.classify_stream(one))


def test_a_file_that_is_closed(client: Any, tmp_path: Path) -> None:
    """A file that can no longer be read is said to be so."""
    (tmp_path / "a.png").touch()
    with (tmp_path / "a.png").open("wb") as file, pytest.raises(InvalidInputError, match=r"Cannot read .*a\.png: "):
        client.classify(file)
