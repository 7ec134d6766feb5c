"""A model version's certificate, replayed later or elsewhere: no PyTorch needed."""

import zipfile
from pathlib import Path

import numpy as np

from export.replay import replay
from resserve.certificate import Certificate
from resserve.errors import ResServeError
from resserve.files import GOLDEN, MODEL
from resserve.golden import check_varied
from resserve.manifest import check_digests, read_manifest


def verify(directory: Path) -> Certificate:
    """Check every digest of a version, and run its golden images through ONNX Runtime here.

    Returns:
        The certificate, with this machine's differences.

    Raises:
        ResServeError: naming the file that is missing or altered, or saying how far the model drifts.
    """
    manifest = read_manifest(directory)
    check_digests(directory, manifest)
    try:
        with np.load(directory / GOLDEN) as golden:
            images, logits = golden["images"], golden["logits"]
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ResServeError(
            f"{directory / GOLDEN} is not an archive of images and logits ({error}); export again."
        ) from None
    check_varied(images, logits)
    entries = replay(directory / MODEL, images, logits, manifest.certificate)
    return manifest.certificate.model_copy(update={"entries": entries})
