"""Names for data that is no accepted picture: another format, or a picture wrapped in text on its way here."""

import re

# The first bytes of the accepted formats, in base64 and as hexadecimal digits.
_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"R0lGODdh", b"R0lGODlh", b"UklGR", b"SUkqA", b"TU0AK", b"Qk")
_HEXADECIMAL = (
    b"ffd8ff",
    b"89504e47",
    b"47494638",
    b"52494646",
    b"0xffd8ff",
    b"\\xff\\xd8",
    b"\\xffd8",
    b"\\x89504e47",
)

_BINARY = {
    b"%PDF": "is a PDF",
    b"\0\0\0\x0cjP": "is JPEG 2000",
    b"\xff\x4f\xff\x51": "is JPEG 2000",
    b"\xff\x0a": "is JPEG XL",
    b"\0\0\0\x0cJXL ": "is JPEG XL",
    b"\0\0\1\0": "is ICO",
    b"8BPS": "is PSD",
    b"gimp xcf": "is XCF",
    b"DDS ": "is DDS",
    b"qoif": "is QOI",
    b"\x76\x2f\x31\x01": "is OpenEXR",
    b"SIMPLE  =": "is FITS",
    b"\x1aE\xdf\xa3": "is a video (Matroska or WebM); send single frames",
    b"\x1f\x8b": "is compressed by gzip; send what is inside",
    b"BZh": "is compressed by bzip2; send what is inside",
    b"\xfd7zXZ": "is compressed by xz; send what is inside",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; send what is inside",
    b"PK\3\4": "is a ZIP archive; send the pictures inside one by one",
    b"\x93NUMPY": "is a NumPy array; send an encoded picture",
    b"\x80\4\x95": "is a Python pickle; send an encoded picture",
    b"\xef\xbf\xbd": "is a picture that was read as text, which destroyed it; read the file in binary",
    b"\x89PNG": "is a PNG whose line ends were converted, which destroyed it; copy the file in binary",
}
_TEXT = {
    b"<svg": "is SVG",
    b"<!doctype": "is HTML, a page where a picture should be; look at it in a browser",
    b"<html": "is HTML, a page where a picture should be; look at it in a browser",
    b"<?xml": "is XML",
    b"data:": "is a data URL; send the bytes that its base64 stands for",
    b"http://": "is the address of a picture; fetch it and send its bytes",
    b"https://": "is the address of a picture; fetch it and send its bytes",
    b"version https://git-lfs": "is a pointer of Git LFS; run `git lfs pull` and send the file",
    b"content-": "is a part of a multipart form with its headers; send the file alone",
}
_JSON = "is JSON; send the picture itself, as bytes"
_FORM = "is a multipart form; send the file alone"
_ENCODED = "is a picture as {} text; decode it and send the bytes"
_UNKNOWN = "has no known image format"


def describe(data: bytes) -> str:
    """A predicate for "The data …": the format or the wrapping, and how to get from it to what can be sent."""
    found = next((text for magic, text in _BINARY.items() if data.startswith(magic)), None)
    if found is None and data[4:8] == b"ftyp":
        found = _describe_ftyp(data)
    if found is None and data[:4] == b"RIFF":
        found = "is a video (AVI); send single frames" if data[8:12] == b"AVI " else None
    return found or _describe_text(data[:1024].removeprefix(b"\xef\xbb\xbf").strip()) or _UNKNOWN


def _describe_ftyp(data: bytes) -> str:
    """ISO 14496-12, section 4.3: a file's own brand, and those that its reader may go by."""
    stop = min(int.from_bytes(data[:4]), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, stop, 4))]
    if any(brand in (b"avif", b"avis") for brand in brands):
        return "is AVIF"
    if any(brand[:2] == b"he" or brand in (b"mif1", b"msf1") for brand in brands):
        return "is HEIC"
    if data[8:12] == b"crx ":
        return "is CR3, a raw picture"
    return "is a video (MP4 or QuickTime); send single frames"


def _describe_text(start: bytes) -> str | None:
    lower = start.lower()
    if lower.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in lower:
        return "is SVG"
    for magic, text in _TEXT.items():
        if lower.startswith(magic):
            return text
    if start.startswith(b"--") and b"\ncontent-" in lower:
        return _FORM
    if re.match(rb"""\{\s*("|\})|\[\s*["{\[\d]""", start):
        return _JSON
    bare = start.strip(b"\"'b")
    if bare.lower().startswith(_HEXADECIMAL):
        return _ENCODED.format("hexadecimal")
    digits = re.sub(rb"\s", b"", bare).translate(bytes.maketrans(b"-_", b"+/"))  # the alphabet for addresses
    if digits.startswith(_BASE64) and re.fullmatch(rb"[A-Za-z0-9+/]{8,}={0,2}", digits):
        return _ENCODED.format("base64")
    if re.fullmatch(rb"[^\0-\x1f]{1,1000}\.(jpe?g|png|webp|gif|bmp|tiff?|p[pgb]m)", lower):
        return "is the name of a file; send the file's bytes"
    return None
