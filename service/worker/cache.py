"""The optimised model: loads in hundredths of a second, and its weights are mapped, not read.

It is tied to the processor and the runtime that wrote it, so it is kept beside the version under a key made of both;
it is certified like the original, sealed with digests, and built again when anything differs.
"""

import hashlib
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime as ort

from resserve.cores import usable_cores
from resserve.files import MODEL, sha256_file
from service.worker.plan import Measured, Plan

_SEAL = "seal.json"
_FORMAT = 3  # one higher whenever other things are kept or measured, so that what was kept before is built again
_TEMPORARY = ".tmp-"
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Cached:
    """An optimised model that was replayed whole when it was built.

    Attributes:
        model: the ONNX file; its weights lie beside it.
        plan: as measured.
        measured: run times.
        files: name to SHA-256.
        source: size and times of the file it was made from, whose digest was checked then.
    """

    model: Path
    plan: Plan
    measured: Measured
    files: dict[str, str]
    source: list[int] | None

    def is_unaltered(self) -> bool:
        """Whether every file has its digest."""
        try:
            return self.files == _digests(self.model.parent)
        except OSError:
            return False

    def is_made_from(self, model: Path) -> bool:
        """Whether the original has not been written since; this does not read it."""
        return self.source is not None and self.source == fingerprint(model)


def cache_folder(version: Path, model_digest: str, provider: str) -> Path:
    """The folder for this model, runtime, processor and number of cores."""
    facts = (_FORMAT, model_digest, provider, ort.__version__, platform.machine(), _processor(), usable_cores())
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return version.parent / ".optimised" / f"{version.name}-{key}"


def read(folder: Path) -> Cached | None:
    """What the folder says it has, where the files have their sizes and the graph its digest.

    That is enough to load it: what is wrong with the weights shows when `is_unaltered` has read them all.
    """
    try:
        seal = json.loads((folder / _SEAL).read_bytes())
        if seal["sizes"] != _sizes(folder) or seal["files"][MODEL] != sha256_file(folder / MODEL):
            return None
        measured = Measured.from_json(seal["measured"])
        return Cached(folder / MODEL, Plan(**seal["plan"]), measured, seal["files"], seal["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path | None]:
    """A temporary folder beside `folder`, gone afterwards; None where the repository cannot be written."""
    try:
        folder.parent.mkdir(exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder.parent))
    except OSError:
        yield None
        return
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed workers left; a younger one may be in use, also by another machine."""
    for left in parent.glob(f"{_TEMPORARY}*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def write_seal(temporary: Path, folder: Path, source: list[int] | None, plan: Plan, measured: Measured) -> None:
    """Sign what is in `temporary`, made from what had the stamp `source`, and name it, in place of a stale one."""
    content = {
        "files": _digests(temporary),
        "sizes": _sizes(temporary),
        "source": source,
        "plan": asdict(plan),
        "measured": asdict(measured),
    }
    (temporary / _SEAL).write_text(json.dumps(content, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        return  # another worker has just sealed the same: its work is as good


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in _files(folder)}


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name != _SEAL]


def fingerprint(path: Path) -> list[int] | None:
    """Size, and when content and inode were last changed, which cannot be set back; None where there is no file.

    Taken before the digest is checked, so that what is written meanwhile is seen at the next start.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _processor() -> str:
    """The processor's model and instruction sets, where Linux tells them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    wanted = {line.split(":")[0].strip(): line for line in lines}
    return "".join(wanted.get(name, "") for name in ("model name", "flags", "Features"))
