"""`python -m bench.parts.decoding`: what decoding costs, and how far its pixels are from torchvision's."""

import io
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.parts import page_faults
from resserve.images.header import check
from service.images.decode import decode
from tests.support.encoded_images import PHOTOS, encode, photo

ROUNDS = 20
Decoder = Callable[[bytes], NDArray[np.uint8]]


def pillow(data: bytes) -> NDArray[np.uint8]:
    """As it is usually written, and as training validates."""
    return np.asarray(CenterCrop(224)(Resize(256)(Image.open(io.BytesIO(data)).convert("RGB"))))


def full_resize(data: bytes) -> NDArray[np.uint8]:
    """libjpeg-turbo, then Pillow's whole resize."""
    return np.asarray(CenterCrop(224)(Resize(256)(Image.fromarray(simplejpeg.decode_jpeg(data)))))


def service(data: bytes) -> NDArray[np.uint8]:
    """What the service does."""
    out = np.empty((224, 224, 3), np.uint8)
    decode(data, out, resize=256)
    return out


def scaled(data: bytes) -> NDArray[np.uint8]:
    """libjpeg-turbo's scaled decoding to at least the resized size: other pixels; for comparison only."""
    pixels = simplejpeg.decode_jpeg(data, min_height=256, min_width=256, min_factor=1)
    return np.asarray(CenterCrop(224)(Resize(256)(Image.fromarray(pixels))))


def milliseconds(decoders: list[Decoder], files: list[bytes]) -> dict[str, float]:
    """CPU time of an image, the median of alternating rounds."""
    rounds: dict[str, list[float]] = {decoder.__name__: [] for decoder in decoders}
    for _ in range(ROUNDS):
        for decoder in decoders:
            began = time.thread_time()
            for data in files:
                decoder(data)
            rounds[decoder.__name__].append((time.thread_time() - began) * 1000 / len(files))
    return {name: statistics.median(times) for name, times in rounds.items()}


def longest_pause(data: bytes) -> float:
    """The longest that another Python thread had to wait while an image was decoded, in milliseconds."""
    thread = threading.Thread(target=service, args=(data,))
    longest, last = 0.0, time.perf_counter()
    thread.start()
    while thread.is_alive():
        time.sleep(0.0005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest * 1000


def main() -> None:
    """Print all of it."""
    files = [encode(photo(path=path), "JPEG", quality=90) for path in PHOTOS]
    print(f"{len(files)} photographs of 500x375, {sum(map(len, files)) // len(files) // 1024} KB on average")
    decoders = [pillow, full_resize, service, scaled]
    times = milliseconds(decoders, files)
    for decoder in decoders:
        apart = np.array([np.abs(decoder(data).astype(int) - pillow(data)) for data in files])
        name, spent = decoder.__name__, times[decoder.__name__]
        print(f"{name:12} {spent:.2f} ms ({spent / times['pillow']:.2f})", end="; ")
        print(f"differs by at most {apart.max()} in {(apart > 0).mean():.2%} of values")
    began = time.thread_time()
    for _ in range(1000):
        check(files[0])
    print(f"check: {(time.thread_time() - began) * 1000:.0f} us")
    for form, options in (("JPEG", {}), ("PNG", {}), ("WebP", {}), ("GIF", {}), ("TIFF", {"compression": "jpeg"})):
        data = encode(photo((4000, 3000)), form, **options)
        began = time.perf_counter()
        pause = longest_pause(data)
        print(f"12 megapixels of {form}: {(time.perf_counter() - began) * 1000:.0f} ms, others wait {pause:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "small.jpg", Path(folder) / "large.jpg"]
        for path, size in zip(paths, [(500, 375), (1200, 900)], strict=True):
            path.write_bytes(encode(photo(size), "JPEG", quality=90))
        for choice in ("default", "keep"):
            count, spent = subprocess.check_output(
                [sys.executable, page_faults.__file__, choice, *paths], text=True
            ).split()
            print(
                f"heap {choice}, 500x375 and 1200x900 by turns: {float(spent):.2f} ms, {float(count):.0f} page faults"
            )


if __name__ == "__main__":
    main()
