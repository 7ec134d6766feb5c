"""Data that is no picture, or a picture in a wrapping: the refusal says so, and what to send."""

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile

import numpy as np
import pytest

from resserve.images.errors import ImageError
from resserve.images.header import check
from tests.support.encoded_images import encode, photo

JPEG = encode(photo((60, 40)), "JPEG")
PNG = encode(photo((60, 40)), "PNG")
BASE64 = base64.b64encode(JPEG)
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", JPEG)
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((4, 4, 3), np.uint8))
    return file.getvalue()


def ftyp(*brands: bytes) -> bytes:
    """The start of an ISO base media file with this major brand and these compatible ones."""
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (4 + len(box)).to_bytes(4) + box + bytes(200)


@pytest.mark.parametrize(
    ("data", "says"),
    {
        "base64": (BASE64, "a picture as base64 text; decode it"),
        "base64 of a PNG": (base64.b64encode(PNG), "a picture as base64 text"),
        "base64 of a WebP": (base64.b64encode(encode(photo((9, 9)), "WebP")), "a picture as base64 text"),
        "base64 of a BMP": (base64.b64encode(encode(photo((9, 9)), "BMP")), "a picture as base64 text"),
        "base64 in lines": (base64.encodebytes(JPEG), "a picture as base64 text"),
        "base64 for addresses": (base64.urlsafe_b64encode(JPEG), "a picture as base64 text"),
        "base64 in quotes": (b'"' + BASE64 + b'"', "a picture as base64 text"),
        "base64 as Python shows it": (repr(BASE64).encode(), "a picture as base64 text"),
        "hexadecimal": (JPEG.hex().encode(), "a picture as hexadecimal text"),
        "bytes as Python shows them": (repr(JPEG).encode(), "a picture as hexadecimal text"),
        "data URL": (b"data:image/jpeg;base64," + BASE64, "a data URL; send the bytes"),
        "JSON": (json.dumps({"image": BASE64.decode()}).encode(), "JSON; send the picture itself"),
        "JSON with a mark": (b'\xef\xbb\xbf\r\n{ "instances": []}', "JSON; send the picture itself"),
        "JSON of pixels": (json.dumps([[[255, 0, 0]]]).encode(), "JSON; send the picture itself"),
        "HTML": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML, a page where a picture should be"),
        "HTML in small letters": (b"<html><head>", "HTML, a page"),
        "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="">', "is SVG"),
        "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is XML"),
        "multipart": (FORM + JPEG + b"\r\n--x--", "a multipart form; send the file alone"),
        "part": (FORM[5:] + JPEG, "a part of a multipart form"),
        "gzip": (gzip.compress(JPEG), "compressed by gzip; send what is inside"),
        "bzip2": (bz2.compress(JPEG), "compressed by bzip2"),
        "xz": (lzma.compress(JPEG), "compressed by xz"),
        "ZIP": (zipped(), "a ZIP archive"),
        "NumPy": (npy(), "a NumPy array"),
        "pickle": (pickle.dumps(JPEG), "a Python pickle"),
        "read as text": (JPEG.decode(errors="replace").encode(), "read as text, which destroyed it"),
        "converted line ends": (PNG.replace(b"\r\n", b"\n"), "line ends were converted, which destroyed it"),
        "address": (b"https://example.org/cat.jpg", "the address of a picture"),
        "name": (b"/home/me/My cat.JPG\n", "the name of a file; send the file's bytes"),
        "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
        "HEIC": (ftyp(b"heic", b"mif1", b"heic"), "is HEIC"),
        "HEIC by its general brand": (ftyp(b"mif1", b"mif1", b"heic"), "is HEIC"),
        "HEIC sequence": (ftyp(b"msf1", b"hevc"), "is HEIC"),
        "AVIF": (ftyp(b"avif", b"mif1"), "is AVIF"),
        "AVIF by its general brand": (ftyp(b"mif1", b"mif1", b"avif"), "is AVIF"),
        "video": (ftyp(b"isom", b"mp42"), "a video"),
        "QuickTime": (ftyp(b"qt  "), "a video"),
        "PDF": (b"%PDF-1.7", "is a PDF"),
        "JPEG XL": (b"\xff\x0a\xfa\x7f", "is JPEG XL"),
        "text": (b"hello, world", "no known image format"),
        "bytes": (bytes(100), "no known image format"),
    }.values(),
)
def test_the_refusal_says_what_was_sent(data: bytes, says: str) -> None:
    """Another format, a text form of a picture or its packing is named, with what to send instead."""
    with pytest.raises(ImageError, match=says) as refused:
        check(data)

    assert str(refused.value).endswith("accepted are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM.")
    assert len(str(refused.value)) < 250
