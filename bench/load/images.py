"""JPEG files to send: a folder's own, or photographs cut to ImageNet's usual size."""

import importlib.util
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resserve.errors import ResServeError

SIZE = (500, 375)  # pixels, width and height: the commonest in ImageNet, whose files average about 110 kB
# With GRAIN, the brightness noise of a real sensor (standard deviation of 255), files come out as large as ImageNet's.
QUALITY = 96
GRAIN = 4.0

# Photographs that the scientific packages carry, where they are installed.
_PHOTOS = {
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
    "skimage": [
        f"data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    ],
}
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def folder_images(directory: Path, limit: int = 256) -> list[bytes]:
    """The encoded images under a folder, in order of their paths, at most `limit`.

    Raises:
        ResServeError: the folder holds none.
    """
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in _SUFFIXES)[:limit]
    if not paths:
        raise ResServeError(f"{directory} holds no image ({', '.join(sorted(_SUFFIXES))}); name a folder that does.")
    return [path.read_bytes() for path in paths]


def photo_jpegs(count: int = 32, seed: int = 0) -> list[bytes]:
    """Different photo-like JPEG files of 500 x 375 pixels, all of the same quality, seeded.

    They are cuts of the photographs that scikit-learn and scikit-image carry; without either package, noise with the
    1/f amplitude spectrum of natural images (Field 1987), which compresses and decodes like a photograph.
    """
    rng = np.random.default_rng(seed)
    photos = _installed_photos()
    return [_jpeg(_cut(photos[i % len(photos)], rng) if photos else _natural_noise(rng)) for i in range(count)]


def padded_jpeg(size: int, total_bytes: int) -> bytes:
    """A valid JPEG of size x size pixels and about `total_bytes`, nearly all of them comment segments.

    It costs the wire what a photo costs, and the decoder nothing: what is left is the price of the path around them.
    """
    plain = _jpeg(Image.new("RGB", (size, size), (90, 120, 150)))
    segments = []
    left = total_bytes - len(plain)
    while left > 4:
        body = min(left - 4, 65533)
        segments.append(b"\xff\xfe" + (body + 2).to_bytes(2, "big") + bytes(body))
        left -= body + 4
    return plain[:2] + b"".join(segments) + plain[2:]


def _installed_photos() -> list[Image.Image]:
    photos: list[Image.Image] = []
    for package, names in _PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        paths = (Path(spec.origin).parent / name for name in names)
        photos.extend(Image.open(path).convert("RGB") for path in paths if path.is_file())
    return photos


def _cut(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    width, height = SIZE
    # Cuts of 80 to 100 % of the photo keep the detail per pixel of a real one.
    scale = rng.uniform(0.8, 1.0) * min(photo.width / width, photo.height / height)
    left, top = rng.uniform(0, photo.width - width * scale), rng.uniform(0, photo.height - height * scale)
    box = (left, top, left + width * scale, top + height * scale)
    pixels = np.asarray(photo.resize(SIZE, Image.Resampling.LANCZOS, box=box), dtype=np.float64)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return _image(pixels + rng.normal(0, GRAIN, (height, width, 1)))


def _natural_noise(rng: np.random.Generator) -> Image.Image:
    width, height = SIZE
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**1.3
        spectrum[0, 0] = 0.0
        plane = np.fft.irfft2(spectrum, s=(height, width))
        planes.append(plane / plane.std())
    luminance, *colours = planes
    # Natural colours differ far less than brightness does.
    rgb = np.stack([128 + 48 * luminance + 12 * c for c in (colours[0], colours[1], -colours[0])], axis=-1)
    return _image(rgb)


def _image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
