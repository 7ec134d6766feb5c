"""The shared memory between a frontend and a worker."""

import gc
import mmap
import os
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ipc.slots import Slots


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(1, 33))
def test_slots_do_not_overlap(count, height, width, classes) -> None:
    """Each slot holds its own pixels and logits on cache lines of its own, seen alike through a second mapping."""
    slots = Slots.create(count, height, width, classes)
    other = Slots(os.dup(slots.fd), slots.shape)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, slots.images.shape, np.uint8)
    logits = rng.standard_normal(slots.logits.shape, np.float32)
    for slot in range(count):
        slots.images[slot], other.logits[slot] = images[slot], logits[slot]
    starts = [
        array[slot].__array_interface__["data"][0] for slot in range(count) for array in (slots.images, slots.logits)
    ]

    assert np.array_equal(other.images, images) and np.array_equal(slots.logits, logits)
    assert all(start % 64 == starts[0] % 64 for start in starts) and len(set(starts)) == 2 * count
    slots.close()
    other.close()


def test_slots_have_no_name_and_cost_nothing_unused() -> None:
    """The memory is a file without a name, and pages that were never touched are not there."""
    slots = Slots.create(256, 224, 224, 1000)
    name = str(Path(f"/proc/self/fd/{slots.fd}").readlink())
    before = os.fstat(slots.fd).st_blocks
    slots.images[3] = 1

    assert name.startswith("/memfd:") and name.endswith("(deleted)")
    assert before == 0 and os.fstat(slots.fd).st_blocks * 512 < slots.images[0].nbytes + 4 * mmap.PAGESIZE
    slots.close()


def test_closed_slots_give_back_their_memory() -> None:
    """The memory file is gone with the last array that looks at it, not before."""

    def mapped() -> int:
        gc.collect()
        return Path("/proc/self/maps").read_text().count("resserve-slots")

    before = mapped()
    slots = Slots.create(4, 224, 224, 10)
    descriptor, kept = slots.fd, slots.images[0]
    kept[...] = 7
    slots.close()

    assert not Path(f"/proc/self/fd/{descriptor}").exists() and (kept == 7).all()
    assert mapped() == before + 1
    del slots, kept
    assert mapped() == before
