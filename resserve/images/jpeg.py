"""JPEG as segments: what a file says of itself before, between and behind its scans (ITU T.81, B.1)."""

import simplejpeg

from resserve.images.errors import ImageError

MAX_EXIF_BYTES = 2**16  # each tag's bytes are copied, and all tags may name the same ones; a JPEG segment holds no more
_MAX_MARKERS = 1000
_MAX_JUNK = 2**16  # bytes between segments
_MAX_WORK = 10**9  # pixels times scans: libjpeg works through all pixels once per scan; encoders write about 10
_USUAL_SCANS = 20

_APP1 = 0xE1  # where EXIF and XMP are
_SOS = 0xDA
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def check_exif(size: int) -> None:
    """Refuse an EXIF block of so many bytes before Pillow parses it, in time and memory that grow with its square."""
    if size > MAX_EXIF_BYTES:
        raise ImageError(f"The image's EXIF block has {size:,} bytes; at most {MAX_EXIF_BYTES:,} are accepted.")


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, stop) of the segments before the first scan, and of its header last (ITU T.81, B.1)."""
    segments = []
    position, junk = 2, 0
    for _ in range(_MAX_MARKERS):
        found = data.index(b"\xff", position)
        junk += found - position
        marker = data[found + 1]
        position = found + (1 if marker == 0xFF else 2)
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:  # no segment
            continue
        length = int.from_bytes(data[position : position + 2])
        segments.append((marker, position + 2, position + length))
        if marker == _SOS and junk <= _MAX_JUNK:
            return segments
        position += length
    raise ValueError("no scan where one should be")


def may_be_turned(jpeg: bytes) -> bool:
    """Whether a JPEG has a segment that could hold an orientation."""
    return any(marker == _APP1 for marker, _, _ in _segments(jpeg))


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        ImageError: it would take too long to decode.
        ValueError: it has no header that libjpeg reads.
    """
    segments = _segments(data)
    check_exif(sum(stop - start for marker, start, stop in segments if data[start : start + 4] == b"Exif"))
    components = max((data[start + 5] for marker, start, _ in segments if marker in _SOF), default=0)
    progressive = any(marker in _PROGRESSIVE for marker, _, _ in segments)
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    _, start, _ = segments[-1]
    scans = data.count(b"\xff\xda", start - 4) if progressive or data[start] < components else 1
    if scans > max(_USUAL_SCANS, _MAX_WORK // (width * height)):
        raise ImageError(f"The JPEG image has {scans} scans, too many for {width} x {height} pixels; save it again.")
    return width, height
