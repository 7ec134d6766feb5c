"""The formats that are accepted are the same in training and in the service, and so are their pixels."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from resserve.errors import ResServeError
from resserve.images.errors import ImageError
from resserve.images.pixels import read
from service.images.decode import decode
from tests.support.encoded_images import encode, noise, photo
from training.images import read_rgb

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore:IM image format:DeprecationWarning"),
]

Image.init()
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
ACCEPTED = {"BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP"}


def written(form: str) -> dict[str, bytes]:
    """One file of the format in every mode that Pillow writes it in."""
    files = {}
    for mode in MODES if form != "ICNS" else ("RGB",):  # which is written in ten sizes, slowly
        grey = mode in ("I;16", "I", "F")
        picture = photo((48, 36)).convert("L").convert(mode) if grey else photo((48, 36)).convert(mode)
        try:
            files[mode] = encode(picture, form)
        except (OSError, ValueError, KeyError, AttributeError):
            continue  # the format has no such mode, or needs a library that is not there
    return files


def trained_on(data: bytes, folder: Path) -> NDArray[np.uint8] | None:
    """What training reads from such a file, whatever it is called."""
    (folder / "picture.jpg").write_bytes(data)
    try:
        return np.asarray(read_rgb(folder / "picture.jpg"))
    except ResServeError:
        return None


def served(data: bytes) -> NDArray[np.uint8] | None:
    """What the service decodes, neither resized nor cropped."""
    out = np.zeros((36, 48, 3), np.uint8)
    try:
        decode(data, out, resize=36)
    except ImageError:
        return None
    return out


@pytest.mark.parametrize("form", sorted(Image.SAVE))
def test_training_and_service_accept_the_same_files(form: str, tmp_path: Path) -> None:
    """Of every format that Pillow can write, both read the same files, to the same pixels, or neither does."""
    for mode, data in written(form).items():
        ours, theirs = trained_on(data, tmp_path), served(data)

        assert (ours is None) == (theirs is None), mode
        assert ours is None or np.array_equal(ours, theirs), mode
        if mode == "RGB":
            assert (ours is not None) == (form in ACCEPTED)


@pytest.mark.parametrize("form", ["AVIF", "ICO", "JPEG2000"])
def test_the_refusal_names_the_format(form: str, tmp_path: Path) -> None:
    """A file of another format under a name that is accepted is refused with its format, in training too."""
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    (tmp_path / "picture.jpg").write_bytes(encode(photo((48, 36)), form))

    with pytest.raises(ResServeError, match=rf"is {form.replace('2000', ' 2000')}; accepted are JPEG, PNG, .*PPM"):
        read_rgb(tmp_path / "picture.jpg")


@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
@pytest.mark.parametrize("white", [1, 15, 255, 1023, 65535])
def test_grey_and_colour_of_any_depth(kind: bytes, white: int) -> None:
    """PGM and PPM of every depth, in binary and in decimals with comments, run from black to white."""
    channels = 3 if kind in (b"P3", b"P6") else 1
    values = np.random.default_rng(0).integers(0, white + 1, (36, 48, channels))
    if kind in (b"P2", b"P3"):
        body = b"\n# comment 12\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in values)
    else:
        body = values.astype(">u2" if white > 255 else "u1").tobytes()

    out = served(kind + b"\n# comment 7\n48 36\n%d\n" % white + body)

    assert out is not None
    expected = np.rint(values * (65535 / white)).astype(int) >> 8 if white > 255 else np.rint(values * (255 / white))
    expected = np.broadcast_to(expected, out.shape)
    assert np.abs(out.astype(int) - expected).max() <= 1
    assert np.array_equal(out, expected) or white in (15, 1023)


@pytest.mark.parametrize("body", [b"0110 1", b"0 1 # 1\n1 0 1"])
def test_bits_in_decimals_need_no_space(body: bytes) -> None:
    """In a plain PBM 1 is black, and spaces between the digits are optional."""
    out = np.zeros((1, 5, 3), np.uint8)

    decode(b"P1\n5 1\n" + body, out, resize=1)

    assert out[0, :, 0].tolist() == [255, 0, 0, 255, 0]


@pytest.mark.parametrize("body", [b"", b"7", b"7 a", b"7 -"])
def test_missing_numbers_are_refused(body: bytes) -> None:
    """A picture in decimals that ends early, or holds something else, shows nobody's memory."""
    with pytest.raises(ImageError, match="corrupt or truncated"):
        decode(b"P2 2 1 255 " + body, np.zeros((1, 2, 3), np.uint8), resize=1)


@pytest.mark.parametrize("missing", range(1, 21))
def test_a_png_without_its_last_chunk_is_read(missing: int, tmp_path: Path) -> None:
    """The bytes behind the pixels of a PNG may be missing in part or as a whole: nothing is in them."""
    data = encode(Image.fromarray(noise(36, 48, 3)), "PNG")

    out = served(data[:-missing])

    assert np.array_equal(out, noise(36, 48, 3))


@pytest.mark.parametrize("form", ["PNG", "WebP", "GIF", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 30)])
def test_transparent_pictures_lie_on_their_background(
    form: str, mode: str, background: tuple[int, int, int], tmp_path: Path
) -> None:
    """Given a background, service and certificate lay alpha, palettes and transparent colours over it alike."""
    picture = photo((48, 36)).convert("RGBA")
    picture.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (36, 1))))
    options = {"transparency": 7} if mode == "P" and form in ("PNG", "GIF") else {}
    try:
        data = encode(picture if mode == "RGBA" else picture.convert(mode), form, lossless=True, **options)
    except OSError:
        pytest.skip(f"{form} has no {mode}")
    (tmp_path / "a").write_bytes(data)

    out = np.zeros((36, 48, 3), np.uint8)
    decode(data, out, resize=36, background=background)

    with Image.open(tmp_path / "a") as image:
        rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + np.array(background) * (1 - alpha)
    assert np.abs(out - expected).max() <= 1
    assert np.array_equal(read(tmp_path / "a", background)[0], out)
    assert np.array_equal(out, served(data)) == (alpha.min() == 1)
