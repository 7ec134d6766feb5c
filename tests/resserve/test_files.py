"""Names and digests of a version's files, as every process takes them."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from resserve.errors import ResServeError
from resserve.files import check_digest, sha256_file


def test_a_worker_can_afford_them() -> None:
    """The module brings neither pydantic nor numpy."""
    code = "import sys, resserve.files; print(sorted({'pydantic', 'numpy'} & set(sys.modules)))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_file_is_held_to_its_digest(tmp_path: Path) -> None:
    """The right content passes; an altered file, a folder and a missing file are refused by name."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph" * 1000)
    digest = sha256_file(path)
    assert digest == hashlib.sha256(b"graph" * 1000).hexdigest()

    check_digest(path, digest)
    path.write_bytes(b"Graph" + b"graph" * 999)
    with pytest.raises(ResServeError, match=r"model\.onnx was altered: its SHA-256 is not the manifest's"):
        check_digest(path, digest)
    with pytest.raises(ResServeError, match=r"cannot be read \(Is a directory\)"):
        check_digest(tmp_path, digest)
    path.unlink()
    with pytest.raises(ResServeError, match=r"model\.onnx cannot be read \(No such file or directory\)"):
        check_digest(path, digest)
