"""`resserve verify`: no altered byte and no drift passes."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.replay import BATCHES
from export.verify import verify
from resserve.errors import ResServeError
from resserve.manifest import FileRecord, read_manifest, write_manifest

FILES = ("model.onnx", "golden.npz", "manifest.json")


def test_a_version_that_is_as_exported_passes(repository: Path) -> None:
    """Every batch size is replayed, within the certificate's own bounds."""
    certificate = verify(repository / "alpha" / "1")

    assert [entry.batch for entry in certificate.entries] == list(BATCHES)
    assert all(entry.max_abs_diff <= certificate.tolerance for entry in certificate.entries)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_altered_byte_is_found_and_its_file_named(
    file: str, place: float, flip: int, copy: Callable[[], Path]
) -> None:
    """One byte of any file, changed in any way, fails the verification."""
    path = copy() / file
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= flip
    path.write_bytes(data)

    with pytest.raises(ResServeError, match=re.escape(file)):
        verify(path.parent)


@pytest.mark.parametrize("file", FILES)
def test_missing_and_cut_files_are_named(file: str, copy: Callable[[], Path]) -> None:
    """A file that is gone, empty or cut short fails by its name."""
    path = copy() / file
    for content in (path.read_bytes()[:-1], b""):
        path.write_bytes(content)
        with pytest.raises(ResServeError, match=re.escape(file)):
            verify(path.parent)
    path.unlink()

    with pytest.raises(ResServeError, match=re.escape(file)):
        verify(path.parent)


def test_a_drift_behind_right_digests_is_found(copy: Callable[[], Path]) -> None:
    """Logits that the model does not give are refused even where every digest was made to match."""
    version = copy()
    manifest = read_manifest(version)
    with np.load(version / "golden.npz") as golden:
        images, logits = golden["images"], golden["logits"].copy()
    logits[3, 2] += 2 * manifest.certificate.tolerance
    np.savez(version / "golden.npz", images=images, logits=logits)
    files = {**manifest.files, "golden.npz": FileRecord.of(version / "golden.npz")}
    write_manifest(version, manifest.model_copy(update={"files": files}))

    with pytest.raises(ResServeError, match="at batch 1 drifts from PyTorch"):
        verify(version)


def test_verify_needs_no_torch(repository: Path) -> None:
    """It runs where only the serving packages are installed, and prints what it found."""
    block = "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'onnx', 'sklearn'))); "
    main = "from resserve.cli import main; main()"

    ended = subprocess.run(
        [sys.executable, "-c", block + main, "verify", str(repository / "alpha" / "1")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "batch 8: logits within" in ended.stdout
    assert "the certificate holds here" in ended.stdout


def test_verify_says_what_is_no_version(tmp_path: Path) -> None:
    """A folder without a manifest is refused as what it is."""
    shutil.rmtree(tmp_path)

    with pytest.raises(ResServeError, match="is not a model version"):
        verify(tmp_path)
