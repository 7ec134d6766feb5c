"""JPEG files as phones, editors and broken downloads leave them."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resserve.images.errors import ImageError
from resserve.images.header import check
from service.images.decode import decode
from tests.support.encoded_images import encode, many_scans, photo

PHOTO = photo((200, 150))
LARGE = Image.new("RGB", (4000, 3000))
PROGRESSIVE = encode(PHOTO, "JPEG", progressive=True)
SCAN = b"\xff\xda"


def pixels(data: bytes) -> tuple[NDArray[np.uint8], bool]:
    """What the service sees, and whether it had to mend the file."""
    out = np.zeros((150, 200, 3), np.uint8)
    return out, decode(data, out, resize=150)


def scans(data: bytes) -> list[int]:
    """Where the scans of a file begin that has none in its metadata."""
    return [at for at in range(len(data)) if data[at : at + 2] == SCAN]


def motion_photo() -> bytes:
    """A progressive picture of 12 megapixels and a video behind it, where the marker of a scan occurs by chance."""
    video = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + np.random.default_rng(0).bytes(9_000_000)
    return encode(LARGE, "JPEG", progressive=True) + video


def multi_picture() -> bytes:
    """Many progressive pictures in one file, as cameras write them (CIPA DC-007)."""
    return encode(LARGE, "MPO", save_all=True, append_images=[photo((64, 48))] * 12, progressive=True)


def comment_between_scans() -> bytes:
    """A comment that holds the bytes of a scan's marker many times."""
    data = encode(LARGE, "JPEG", progressive=True)
    second = scans(data)[1]
    comment = b"\xff\xfe" + (2 + 2 * 3000).to_bytes(2) + SCAN * 3000
    return data[:second] + comment + data[second:]


@pytest.mark.parametrize("make", [motion_photo, multi_picture, comment_between_scans])
def test_only_the_pictures_own_scans_count(make: Callable[[], bytes]) -> None:
    """Bytes behind the end of a picture, or inside its other segments, are no scans of it."""
    data = make()
    assert data.count(SCAN) > 10**9 // (LARGE.width * LARGE.height)

    header = check(data)

    assert (header.width, header.height) == LARGE.size


def test_what_lies_behind_the_end_is_not_decoded() -> None:
    """The pixels are those of the first picture, and nothing was mended."""
    data = PROGRESSIVE + encode(photo((64, 48)).rotate(180), "JPEG") + b"\0\0\0\x18ftypmp42"

    out, mended = pixels(data)

    assert np.array_equal(out, pixels(PROGRESSIVE)[0])
    assert not mended


def test_too_many_scans_are_still_refused() -> None:
    """Scans of the picture itself are counted, whatever lies behind it."""
    with pytest.raises(ImageError, match="more than 250 scans"):
        check(many_scans(2000, 2000, 300) + b"\xff\xd9 and more")


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": "4:2:0", "optimize": True}, {"restart_marker_blocks": 4}],
    ids=lambda options: " ".join(options) or "baseline",
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_picture_without_its_last_bytes_is_decoded_whole(options: dict[str, object], mode: str, missing: int) -> None:
    """A JPEG that lacks only its end marker, or half of it, gives the same pixels, and says that it was mended."""
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    if mode == "CMYK":
        options = {
            **options,
            "subsampling": "4:4:4",
        }  # libjpeg-turbo's interface, which tells what is missing, has no other
    data = encode(PHOTO.convert(mode), "JPEG", exif=exif, **options)

    out, mended = pixels(data[:-missing])

    assert mended
    whole, intact = pixels(data)
    assert np.array_equal(out, whole)
    assert not intact


@pytest.mark.parametrize("progressive", [False, True])
@given(missing=st.integers(3, 4000))
def test_a_picture_that_lacks_pixels_is_refused(progressive: bool, missing: int) -> None:
    """Cut anywhere before its end, a JPEG is refused: no pixel is made up."""
    data = encode(PHOTO, "JPEG", progressive=progressive)

    with pytest.raises(ImageError, match="truncated"):
        pixels(data[:-missing])


def test_a_picture_that_lacks_a_scan_is_refused() -> None:
    """Cut exactly between two scans, a progressive JPEG shows every pixel coarsely, and is refused."""
    for scan in scans(PROGRESSIVE)[1:]:
        with pytest.raises(ImageError, match="truncated"):
            pixels(PROGRESSIVE[:scan])


def test_the_marker_of_a_damaged_picture_is_no_reason_to_mend_it() -> None:
    """A whole file with damage inside is taken as before, and not counted among those without an end."""
    data = bytearray(encode(PHOTO, "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 4] = b"\0\0\0\0"

    _, mended = pixels(bytes(data))

    assert not mended


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
def test_every_subsampling(mode: str, subsampling: str) -> None:
    """CMYK with fewer samples, which libjpeg-turbo's interface does not know, is Pillow's to decode."""
    data = encode(PHOTO.convert(mode), "JPEG", subsampling=subsampling)

    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(pixels(data)[0], image.convert("RGB"))
