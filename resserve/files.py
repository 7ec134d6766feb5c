"""The files of a model version: their names, and how a file is held to its digest.

This module imports neither pydantic nor numpy, so that every process can afford it, the worker included.
"""

import hashlib
from pathlib import Path

from resserve.errors import ResServeError

MODEL = "model.onnx"
GOLDEN = "golden.npz"
MANIFEST = "manifest.json"


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str) -> None:
    """Hold a file to the SHA-256 that its version's manifest gives.

    Raises:
        ResServeError: naming the file, which cannot be read or was altered.
    """
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise ResServeError(f"{path} cannot be read ({error.strerror}); export the model again.") from None
    if digest != expected:
        raise ResServeError(f"{path} was altered: its SHA-256 is not the manifest's; export the model again.")
