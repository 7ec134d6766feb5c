"""What a model repository holds: `<model>/<version>/manifest.json`."""

from dataclasses import dataclass
from pathlib import Path

from resserve.errors import ResServeError
from resserve.files import MANIFEST
from resserve.manifest import Manifest, read_manifest


@dataclass(frozen=True, slots=True)
class Version:
    """One model version on disk. `manifest` is None where it cannot be read, and `problem` says why."""

    name: str
    number: int
    directory: Path
    manifest: Manifest | None
    problem: str = ""


def scan(repository: Path) -> dict[str, list[int]]:
    """Every model of the repository with its version numbers, in order.

    Raises:
        ResServeError: the folder is missing or empty.
    """
    if not repository.is_dir():
        raise ResServeError(f"There is no model repository at {repository}; export a model, or name it: --repository.")
    available = {
        folder.name: versions
        for folder in sorted(repository.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and (versions := _numbers(folder))
    }
    if not available:
        raise ResServeError(f"{repository} holds no model version; export one with `resserve export`.")
    return available


def _numbers(folder: Path) -> list[int]:
    names = [path.name for path in folder.iterdir() if (path / MANIFEST).exists()]
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and name == str(int(name)))


def read_version(repository: Path, name: str, number: int) -> Version:
    """The version with its manifest, or with the problem that keeps it from being read."""
    directory = repository / name / str(number)
    try:
        manifest = read_manifest(directory)
    except ResServeError as error:
        return Version(name, number, directory, None, str(error))
    if (manifest.name, manifest.version) != (name, number):
        problem = f"{directory} holds {manifest.name} version {manifest.version}: a version cannot be moved or renamed."
        return Version(name, number, directory, None, problem)
    return Version(name, number, directory, manifest)
