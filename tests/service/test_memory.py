"""The heap: kept between images, given back on request."""

import ctypes
import subprocess
import sys

import pytest

_DECODE = """
import resource, sys, threading
import numpy as np
from service import images
from service.memory import keep_heap

def decode(times):
    for _ in range(times):
        images.decode(data, out, resize=256)

if sys.argv[1] == "keep":
    keep_heap()
data = open(sys.argv[2], "rb").read()
out = np.zeros((224, 224, 3), np.uint8)
for times in (5, 20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=decode, args=(times,))
    thread.start()
    thread.join()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_kept_heap_does_not_fault():
    """With the heap kept, decoding another photograph touches few new pages; without, hundreds each."""
    from tests.service.pictures import PHOTOS

    faults = {
        choice: float(subprocess.check_output([sys.executable, "-c", _DECODE, choice, str(PHOTOS[0])]))
        for choice in ("keep", "default")
    }

    assert faults["keep"] < faults["default"] / 4
