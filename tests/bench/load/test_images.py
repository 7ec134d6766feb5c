"""The pictures that are sent."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from bench.host.raw_runtime import decode
from bench.load import images
from resserve.errors import ResServeError
from resserve.manifest import InputSpec


@pytest.mark.parametrize("installed", [True, False])
def test_generated_photos_are_of_imagenets_size(monkeypatch, installed) -> None:
    """500 x 375 pixels and around 110 kB each, all different, with and without the packages that carry photos."""
    if not installed:
        monkeypatch.setattr(images, "_PHOTOS", {"no_such_package": ["x.png"]})
    files = images.photo_jpegs(12)

    assert {Image.open(io.BytesIO(data)).size for data in files} == {(500, 375)}
    assert 85_000 < np.mean([len(data) for data in files]) < 145_000
    assert len(set(files)) == 12 and files == images.photo_jpegs(12)


@pytest.mark.parametrize("size", [700, 20_000, 120_000])
def test_padding_is_weight_without_work(size) -> None:
    """A padded file has the bytes that were asked for and decodes to the same small picture."""
    data = images.padded_jpeg(32, size)

    assert abs(len(data) - max(size, len(images.padded_jpeg(32, 0)))) <= 4
    assert np.array_equal(simplejpeg.decode_jpeg(data), simplejpeg.decode_jpeg(images.padded_jpeg(32, 0)))


def test_a_folders_own_images_are_sent(tmp_path) -> None:
    """Images are found in sub-folders, in order; other files are not sent."""
    for name in ("b/2.JPG", "a/1.png", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())

    assert images.folder_images(tmp_path) == [b"a/1.png", b"b/2.JPG"]


def test_a_folder_without_images_is_refused(tmp_path) -> None:
    """The sentence names the folder."""
    with pytest.raises(ResServeError, match="holds no image"):
        images.folder_images(tmp_path)


def test_reference_decodes_the_pixels_that_training_sees() -> None:
    """The yardstick's short cut differs from torchvision's resize and crop by at most 1 in 255, in few pixels."""
    from torchvision.transforms.v2 import functional

    spec = InputSpec(height=224, width=224, resize=256, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    for data in images.photo_jpegs(4):
        image = Image.fromarray(simplejpeg.decode_jpeg(data))
        expected = np.asarray(functional.center_crop(functional.resize(image, [256]), [224]), dtype=np.int16)
        difference = np.abs(decode(data, spec).astype(np.int16) - expected)

        assert difference.max() <= 1 and np.mean(difference > 0) < 0.01
