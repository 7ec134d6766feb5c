"""The heap: kept between images."""

import ctypes
import subprocess
import sys

import pytest

from bench.parts import page_faults
from service.system.memory import give_back
from tests.support.encoded_images import PHOTOS, encode, photo

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")


@glibc
def test_a_kept_heap_does_not_fault(tmp_path):
    """With the heap kept, decoding the same photographs again touches few new pages; without, many times as many."""
    paths = [tmp_path / "small.jpg", tmp_path / "large.jpg"]  # of one size alone, glibc adapts
    for path, size in zip(paths, [(500, 375), (1200, 900)], strict=True):
        path.write_bytes(encode(photo(size), "JPEG"))

    kept, default = (
        float(subprocess.check_output([sys.executable, page_faults.__file__, choice, *paths]).split()[0])
        for choice in ("keep", "default")
    )

    assert kept < default / 4


def test_giving_back_is_harmless():
    """Free memory goes back to the system, used memory stays as it was."""
    used = PHOTOS[0].read_bytes()

    give_back()

    assert used == PHOTOS[0].read_bytes()
