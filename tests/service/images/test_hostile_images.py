"""Images nobody means well with: every one is refused with one sentence, in little time and memory."""

import struct
import subprocess
import sys
import time
import zlib
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from resserve.images.errors import ImageError, TooLargeError
from resserve.images.header import Header, check
from service.images.decode import decode
from tests.support.encoded_images import encode, many_scans, many_tags, photo, png

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

_SMALL = photo((48, 36))
_EXIF = Image.Exif()
_EXIF[0x0112] = 6
_VALID = {
    "jpeg": encode(_SMALL, "JPEG", exif=_EXIF),
    "progressive jpeg": encode(_SMALL, "JPEG", progressive=True),
    "cmyk jpeg": encode(_SMALL.convert("CMYK"), "JPEG"),
    "png": encode(_SMALL, "PNG", exif=_EXIF),
    "palette png": encode(_SMALL.convert("P"), "PNG", transparency=bytes(256)),
    "16-bit png": encode(Image.fromarray(np.zeros((36, 48), np.uint16)), "PNG"),
    "webp": encode(_SMALL, "WebP", exif=_EXIF),
    "lossless webp": encode(_SMALL, "WebP", lossless=True),
    "animated webp": encode(_SMALL, "WebP", save_all=True, append_images=[photo((48, 36)).rotate(90)]),
    "gif": encode(_SMALL, "GIF", comment=b"a comment"),
    "bmp": encode(_SMALL, "BMP"),
    "tiff": encode(_SMALL, "TIFF"),
    "deflated tiff": encode(_SMALL, "TIFF", compression="tiff_deflate"),
    "jpeg tiff": encode(_SMALL, "TIFF", compression="jpeg"),
    "big tiff": encode(_SMALL, "TIFF", big_tiff=True),
    "ppm": encode(_SMALL, "PPM"),
    "deep pgm": b"P5 48 36 1023\n" + bytes(2 * 48 * 36),
    "plain ppm": b"P3\n# plain\n48 36 255\n" + b"1 2 3\n" * 48 * 36,
    "plain pbm": b"P1 48 36\n" + b"01" * 24 * 36,
}


def judge(data: bytes) -> str | None:
    """None if it decodes, else the sentence that refuses it; any other exception is the test's failure."""
    try:
        decode(data, np.zeros((32, 32, 3), np.uint8), resize=36)
    except ImageError as error:
        return str(error)
    return None


def is_sentence(text: str) -> bool:
    return text[0].isupper() and text.endswith(".") and "\n" not in text and len(text) < 300


@pytest.mark.parametrize("name", _VALID)
def test_the_seeds_decode(name):
    """What is broken below is whole before."""
    assert judge(_VALID[name]) is None


@settings(deadline=None, max_examples=1500)
@given(name=st.sampled_from(sorted(_VALID)), data=st.data())
def test_broken_files_are_refused_in_one_sentence(name, data):
    """Flipped, cut, inserted and swapped bytes in a file of any format decode or are refused; nothing else happens."""
    content = bytearray(_VALID[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)) | st.integers(0, min(len(content), 120)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "word"])):
            case "flip":
                content[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del content[at : at + data.draw(st.integers(1, 60))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=12))
            case "word":
                content[at : at + 4] = data.draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f" + b"\xff" * 3]))

    refused = judge(bytes(content))

    assert refused is None or is_sentence(refused)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:40] for data in _VALID.values())]))
@example(b"", b"")
def test_nonsense_is_refused_in_one_sentence(nonsense, start):
    """Bytes that are no image, with or without the beginning of one."""
    assert is_sentence(judge(start + nonsense) or "")


@pytest.mark.parametrize("name", _VALID)
def test_truncated_files_are_refused(name):
    """Half a file is no picture."""
    assert is_sentence(judge(_VALID[name][: len(_VALID[name]) // 2]) or "")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello, world", "no known image format"),
        (b"%PDF-1.7", "is a PDF"),
        (b"<svg xmlns=''/>", "is SVG"),
        (b"\0\0\0\x20ftypheic" + bytes(20), "is HEIC"),
        (b"\0\0\0\x20ftypavif" + bytes(20), "is AVIF"),
    ],
)
def test_what_is_no_image_is_named(data, says):
    """The refusal says what the bytes are, and what is accepted."""
    with pytest.raises(ImageError, match=says) as caught:
        check(data)

    assert not data or "accepted are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM" in str(caught.value)


def test_limits_are_those_given():
    """Bytes and pixels are counted exactly, from the header."""
    data = _VALID["png"]

    assert check(data, max_bytes=len(data), max_pixels=48 * 36) == Header("PNG", 48, 36)
    with pytest.raises(TooLargeError, match="bytes; at most"):
        check(data, max_bytes=len(data) - 1)
    with pytest.raises(TooLargeError, match="48 x 36 pixels; at most"):
        check(data, max_pixels=48 * 36 - 1)


@pytest.mark.parametrize("name", _VALID)
def test_the_header_tells_the_size(name):
    """Every format's size is known without decoding."""
    header = check(_VALID[name])

    assert (header.width, header.height) == (48, 36)


@cache
def _giants() -> dict[str, bytes]:
    jpeg, gif, bmp, tiff = _VALID["progressive jpeg"], _VALID["gif"], _VALID["bmp"], bytearray(_VALID["tiff"])
    frame = jpeg.index(b"\xff\xc2") + 5
    tags = int.from_bytes(tiff[4:8], "little")
    for tag in range(int.from_bytes(tiff[tags : tags + 2], "little")):
        at = tags + 2 + 12 * tag
        if tiff[at : at + 2] in (b"\0\1", b"\1\1"):
            tiff[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 100_000)
    lossless = bytearray(_VALID["lossless webp"])
    lossless[21:25] = struct.pack("<I", 0x0FFFFFFF)
    return {
        "jpeg": jpeg[:frame] + b"\xff\xdc\xff\xdc" + jpeg[frame + 4 :],
        "png": png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        "gif": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "bmp": bmp[:18] + struct.pack("<ii", 100_000, -100_000) + bmp[26:],
        "tiff": bytes(tiff),
        "webp": b"RIFF\0\1\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + bytes(200),
        "lossless webp": bytes(lossless),
    }


@pytest.mark.parametrize("name", _giants())
def test_giants_are_refused_from_the_header(name):
    """A few bytes that claim more than 50 megapixels are not decoded."""
    with pytest.raises(TooLargeError, match="at most 50,000,000"):
        check(_giants()[name])


@cache
def _bombs() -> dict[str, bytes]:
    row = bytes(9)
    text = b"comment\0\0" + zlib.compress(bytes(50_000_000))
    gif = _VALID["gif"]
    table = 13 + (3 << (gif[10] & 7) + 1)
    jpeg = _VALID["progressive jpeg"]
    return {
        "png text": png(8, 8, 8, 0, row * 8, (b"zTXt", text)),
        "png texts": png(8, 8, 8, 0, row * 8, *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 60),
        "png profile": png(8, 8, 8, 0, row * 8, (b"iCCP", text)),
        "png exif": png(8, 8, 8, 0, row * 8, (b"eXIf", many_tags(50_000, 400_000))),
        "png chunks": png(8, 8, 8, 0, row * 8, *[(b"tEXt", b"a\0b")] * 1_000_000),
        "tiff tags": many_tags(400, 15_000_000),
        "tiff directory": many_tags(60_000, 0),
        "gif comment": gif[:table] + b"!\xfe" + (b"\xff" + bytes(255)) * 75_000 + b"\0" + gif[table:],
        "jpeg scans": many_scans(2000, 2000, 300),
        "jpeg segments": jpeg[:2] + b"\xff\xfe\0\2" * 4_000_000 + jpeg[2:],
        "jpeg gap": jpeg[:2] + b"\xff\xfe\0\2" + bytes(19_000_000) + jpeg[2:],
        "ppm digits": b"P6 36 " + b"10" * 400 + b" 255\n",
        "ppm decimals": b"P2 4000 4000 255\n" + b"255 " * 4_900_000,
        "bmp runs": _VALID["bmp"][:30] + b"\1" + _VALID["bmp"][31:],
    }


@pytest.mark.parametrize("name", _bombs())
def test_bombs_are_refused_at_once(name):
    """What would cost a parser seconds or gigabytes is refused in a small part of that."""
    data = _bombs()[name]
    began = time.process_time()

    refused = judge(data)

    assert refused is not None
    assert is_sentence(refused)
    assert time.process_time() - began < 1  # unrefused they take from 5 s to minutes


@pytest.mark.parametrize("crumbs", [b"!\xfe" + b"\1a" * 5000, b"!\xfe\0" * 5000], ids=["blocks", "comments"])
def test_crumbs_are_not_followed_to_their_end(crumbs):
    """Millions of blocks, or of comments without one, are as many as were looked at when there are too many."""
    gif = _VALID["gif"]
    table = 13 + (3 << (gif[10] & 7) + 1)

    assert "more than 4,096 blocks" in judge(gif[:table] + crumbs)


_LIMITED = """
import resource, sys
import numpy as np
from service.images.decode import decode
from resserve.images.header import check
sys.path.insert(0, ".")
data = sys.stdin.buffer.read()
check(data)
resource.setrlimit(resource.RLIMIT_AS, (2**30 + 2**29, resource.RLIM_INFINITY))
decode(data, np.zeros((224, 224, 3), np.uint8), resize=256)
"""


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WebP", {"lossless": True, "method": 0})])
def test_the_largest_image_fits_in_bounded_memory(form, options):
    """50 megapixels, which a few KB can hold, decode with 1.5 GiB of address space."""
    data = encode(Image.new("RGB", (10_000, 5_000)), form, **options)

    subprocess.run([sys.executable, "-c", _LIMITED], input=data, check=True)
