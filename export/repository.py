"""The model repository's folders: a version appears whole, under the next number, or not at all."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resserve.errors import ResServeError
from resserve.manifest import Manifest, write_manifest

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TEMPORARY = ".tmp-"


def check_name(name: str) -> None:
    """Refuse a model name that could not be a folder, a label or part of a URL everywhere.

    Raises:
        ResServeError: saying what a name may hold.
    """
    if not _NAME.fullmatch(name):
        raise ResServeError(
            f"{name!r} cannot be a model's name: use up to 63 small letters, digits, dots, hyphens and underscores, "
            "starting with a letter or a digit."
        )


@contextlib.contextmanager
def new_version(repository: Path) -> Iterator[Path]:
    """A temporary folder to write a version in, gone afterwards unless `publish` made it a version.

    Temporaries of exports that were killed are removed first: each export holds a lock on its own folder, which the
    system releases with the process.

    Raises:
        ResServeError: the repository cannot be written.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with _locked(repository):
            _remove_stale(repository)
            folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=repository))
            lock = _lock(folder)
    except OSError as error:
        raise ResServeError(
            f"Cannot write in {repository} ({error.strerror}); choose another --repository or mend its permissions."
        ) from error
    try:
        yield folder
    except OSError as error:
        raise ResServeError(
            f"Cannot write the model version in {repository} ({error.strerror}); free space and export again."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def publish(folder: Path, manifest: Manifest) -> Path:
    """Turn a temporary folder of `new_version` into the next version of the manifest's model.

    Files, folder and rename are on the disk when this returns. The manifest's version number is replaced.

    Returns:
        The folder `<repository>/<name>/<version>`.
    """
    repository = folder.parent
    model = repository / manifest.name
    with _locked(repository):
        model.mkdir(exist_ok=True)
        version = 1 + max((int(entry.name) for entry in model.iterdir() if entry.name.isdecimal()), default=0)
        write_manifest(folder, manifest.model_copy(update={"version": version}))
        folder.chmod(0o755)  # mkdtemp's 0700 would hide the version from a service of another user
        for path in (*folder.iterdir(), folder):
            _sync(path)
        target = folder.rename(model / str(version))
        _sync(model)
        _sync(repository)
    return target


def _remove_stale(repository: Path) -> None:
    for folder in repository.glob(f"{_TEMPORARY}*"):
        try:
            lock = _lock(folder)
        except OSError:
            continue  # its export is still running, or has just ended
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other exports, waiting for it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
