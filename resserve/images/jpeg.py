"""JPEG as segments: what a file says of itself before, between and behind its scans (ITU T.81, annex B).

Only what lies between the start and the end of the picture counts. Behind the end phones append videos, gain maps and
further pictures, which are JPEG files of their own.
"""

import re
import struct
from collections.abc import Iterator

from resserve.images.errors import ImageError

END = b"\xff\xd9"

MAX_EXIF_BYTES = 2**16  # each tag's bytes are copied, and all tags may name the same ones; a JPEG segment holds no more
_MAX_SEGMENTS = 1000
_MAX_JUNK = 2**16  # bytes between segments
_MAX_WORK = 10**9  # pixels times scans: libjpeg works through all pixels once per scan; encoders write about 10
_USUAL_SCANS = 20

_APP1 = 0xE1  # where EXIF and XMP are
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Neither a stuffed zero nor a restart marker, both of which are part of a scan, nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


_Segment = tuple[int, int, int]
"""Its marker, and where its bytes behind the length start and stop; plain, since every picture has ten of them."""


def check_exif(size: int) -> None:
    """Refuse an EXIF block of so many bytes before Pillow parses it, in time and memory that grow with its square."""
    if size > MAX_EXIF_BYTES:
        raise ImageError(f"The image's EXIF block has {size:,} bytes; at most {MAX_EXIF_BYTES:,} are accepted.")


def _segments(data: bytes) -> Iterator[_Segment]:
    """Every segment of the picture, the end (of no length) included where there is one.

    The bytes of a scan, which follow its header, are searched for the next marker and not looked at otherwise.
    """
    position, junk, scanned = 2, _MAX_JUNK, False
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position, len(data) if scanned else position + junk)
        if found is None:
            return
        junk -= found.start() - position
        marker, position = data[found.start() + 1], found.end()
        if marker == _EOI:
            yield marker, position, position
            return
        if marker == _SOI:
            raise ValueError("a picture within the picture")
        if marker != _TEM:
            stop = position + int.from_bytes(data[position : position + 2])
            yield marker, position + 2, stop
            position, scanned = stop, scanned or marker == _SOS
    raise ValueError(f"more than {_MAX_SEGMENTS:,} segments")


def _header(data: bytes) -> list[_Segment]:
    """The segments before the first scan, and that scan's header last."""
    segments = []
    for segment in _segments(data):
        segments.append(segment)
        if segment[0] == _SOS:
            return segments
    raise ValueError("no scan where one should be")


def may_be_turned(jpeg: bytes) -> bool:
    """Whether a JPEG has a segment that could hold an orientation."""
    return any(marker == _APP1 for marker, _, _ in _header(jpeg))


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        ImageError: it would take too long to decode.
        ValueError: it has no frame or no scan.
    """
    segments = _header(data)
    check_exif(sum(stop - start for _, start, stop in segments if data[start : start + 4] == b"Exif"))
    _, height, width, components = struct.unpack_from(">BHHB", data, _frame(segments))
    if width and height and (_is_progressive(segments) or data[segments[-1][1]] < components):
        most = max(_USUAL_SCANS, _MAX_WORK // (width * height))
        if data.count(b"\xff\xda") > most and sum(marker == _SOS for marker, _, _ in _segments(data)) > most:
            raise ImageError(f"The JPEG image has more than {most} scans of {width} x {height} pixels; save it again.")
    return width, height


def _frame(segments: list[_Segment]) -> int:
    for marker, start, _ in segments:
        if marker in _SOF:
            return start
    raise ValueError("no frame")


def _is_progressive(segments: list[_Segment]) -> bool:
    return any(marker in _PROGRESSIVE for marker, _, _ in segments)


def lacks_only_its_end(data: bytes) -> bool:
    """Whether the end is missing where no scan is: of missing ones libjpeg says nothing, and shows what it has."""
    segments = list(_segments(data))
    return segments[-1][0] != _EOI and not _missing(data, segments)


def _missing(data: bytes, segments: list[_Segment]) -> set[tuple[int, int]]:
    """Coefficients, as (component, number), that no scan carries down to the last bit."""
    frame = _frame(segments)
    components = data[frame + 6 : frame + 6 + 3 * data[frame + 5] : 3]
    missing = {(component, number) for component in components for number in range(64)}
    for _, start, stop in (segment for segment in segments if segment[0] == _SOS):
        first, last, bits_left = 0, 63, 0
        if _is_progressive(segments):
            first, last, bits_left = data[stop - 3], data[stop - 2], data[stop - 1] & 15
        if bits_left == 0:
            scanned = data[start + 1 : start + 1 + 2 * data[start] : 2]
            missing -= {(component, number) for component in scanned for number in range(first, last + 1)}
    return missing
