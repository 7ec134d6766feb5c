"""The versions that the service has: which to serve, and how each is."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from resserve.errors import ResServeError
from resserve.files import MANIFEST, sha256_file
from resserve.manifest import Manifest
from resserve.model_key import ModelKey
from resserve.repository import read_version, scan
from service.ipc.messages import MAX_DIGESTS, AddBrokenVersion, AddVersion, Load, Loaded, State
from service.settings import Settings
from service.supervisor.worker_process import WorkerProcess

# A manifest may set these, and this service applies none of them yet: it serves only versions with their defaults.
_NOT_APPLIED = {
    "input": ("name", "dtype", "layout", "channels", "batch"),
    "output": ("name", "kind", "class_axis", "temperature"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A version on disk, as it was read: `broken` says why it cannot be served."""

    key: ModelKey
    directory: Path
    manifest: Manifest | None
    manifest_sha256: str
    broken: str

    @property
    def introduction(self) -> AddVersion | AddBrokenVersion:
        """The message that makes a frontend know it."""
        if self.manifest is None:
            return AddBrokenVersion(self.key, self.broken)
        return AddVersion(self.key, str(self.directory), self.manifest_sha256)


def find(repository: Path, wanted: list[str]) -> list[Found]:
    """The versions to serve, by name.

    Args:
        repository: the folder.
        wanted: NAME or NAME@VERSION; empty means the newest version of every model.

    Raises:
        ResServeError: the folder is missing or empty, or a wanted model or version is not in it.
    """
    available = scan(repository)
    chosen = [_choose(text, available, repository) for text in wanted or available]
    if len({key.name for key in chosen}) < len(chosen):
        raise ResServeError("Each model can be served in one version; name it once.")
    return [_read(repository, key) for key in chosen]


def older(repository: Path, wanted: list[str], key: ModelKey) -> Found | None:
    """The next older version of a model; None where there is none, or the operator asked for this one by number."""
    if str(key) in wanted:
        return None
    numbers = [number for number in scan(repository).get(key.name, []) if number < key.version]
    return _read(repository, ModelKey(key.name, numbers[-1])) if numbers else None


def load_request(found: Found, manifest: Manifest, settings: Settings) -> Load:
    """What a worker is told to load."""
    return Load(
        key=found.key,
        directory=str(found.directory),
        files={name: file.sha256 for name, file in manifest.files.items()},
        device=settings.device,
        precision=manifest.precision,
        height=manifest.input.height,
        width=manifest.input.width,
        tolerance=manifest.certificate.tolerance,
        min_agreement=manifest.certificate.min_top1_agreement,
        lanes=settings.lanes,
        max_batch=settings.max_batch,
        solo_threads=settings.solo_threads,
    )


def _choose(text: str, available: dict[str, list[int]], repository: Path) -> ModelKey:
    name, _, version = text.partition("@")
    if name not in available:
        raise ResServeError(f"There is no model {name!r} in {repository}; there is: {', '.join(available)}.")
    if not version:
        return ModelKey(name, available[name][-1])
    if not version.isdecimal() or int(version) not in available[name]:
        numbers = ", ".join(map(str, available[name]))
        raise ResServeError(f"Model {name} has no version {version!r} in {repository}; there is: {numbers}.")
    return ModelKey(name, int(version))


def _read(repository: Path, key: ModelKey) -> Found:
    directory = repository / key.name / str(key.version)
    try:
        # Taken before the manifest is read: a frontend that finds another file refuses it.
        digest = sha256_file(directory / MANIFEST)
    except OSError as error:
        return Found(key, directory, None, "", f"{directory / MANIFEST} cannot be read ({error.strerror}).")
    version = read_version(repository, key.name, key.version)
    if version.manifest and (field := _not_applied(version.manifest)):
        problem = f"{directory} asks for {field}, which this ResServe does not serve; upgrade ResServe."
        return Found(key, directory, None, digest, problem)
    if version.manifest and (problem := _missing(directory, version.manifest)):
        return Found(key, directory, None, digest, problem)
    return Found(key, directory, version.manifest, digest, version.problem)


def _missing(directory: Path, manifest: Manifest) -> str:
    """Says which file is not there whole, by its size; the worker checks the digests."""
    for name, record in manifest.files.items():
        path = directory / name
        if not path.is_file():
            return f"{path} is missing; copy the version again, or export it again."
        if record.bytes is not None and path.stat().st_size != record.bytes:
            size = path.stat().st_size
            return f"{path} has {size} bytes instead of {record.bytes}; copy the version again, or export it again."
    return ""


def _not_applied(manifest: Manifest) -> str:
    for part, names in _NOT_APPLIED.items():
        spec = getattr(manifest, part)
        for name in names:
            value = getattr(spec, name)
            if value != type(spec).model_fields[name].default:
                return f"{part}.{name} = {value!r}"
    return ""


@dataclass(slots=True)
class Status:
    """How a version is.

    Attributes:
        found: as it was read.
        state: READY once every frontend has acknowledged a worker.
        reason: why it is not READY.
        settled: set once it was READY or FAILED.
        worker: its process and what it said of itself, while it is loaded.
        blocked: SHA-256 of images that have ended two workers, oldest first.
    """

    found: Found
    state: State = "LOADING"
    reason: str = ""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    worker: tuple[WorkerProcess, Loaded] | None = None
    blocked: dict[bytes, None] = field(default_factory=dict)

    def set_state(self, state: State, reason: str = "") -> None:
        """Change the state."""
        self.state, self.reason = state, reason
        if state != "LOADING":
            self.settled.set()

    def block(self, digest: bytes) -> None:
        """Remember a blocked image, for frontends that are started later."""
        self.blocked[digest] = None
        if len(self.blocked) > MAX_DIGESTS:
            del self.blocked[next(iter(self.blocked))]
