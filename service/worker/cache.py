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

from service.worker.plan import Measured, Plan, cores

MODEL = "model.onnx"
_SEAL = "seal.json"
_TEMPORARY = ".tmp-"
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Cached:
    """An optimised model that was replayed whole when it was built."""

    model: Path
    plan: Plan
    measured: Measured


def place(version: Path, model_digest: str, provider: str) -> Path:
    """The folder for this model, runtime, processor and number of cores."""
    facts = (model_digest, provider, ort.__version__, platform.machine(), _processor(), cores())
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return version.parent / ".optimised" / f"{version.name}-{key}"


def read(folder: Path) -> Cached | None:
    """What is in the folder, if it is whole and unaltered."""
    try:
        seal = json.loads((folder / _SEAL).read_bytes())
        if seal["files"] != _digests(folder):
            return None
        return Cached(folder / MODEL, Plan(**seal["plan"]), Measured.from_json(seal["measured"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def scratch(folder: Path) -> Iterator[Path | None]:
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


def seal(temporary: Path, folder: Path, plan: Plan, measured: Measured) -> None:
    """Sign what is in `temporary` and give it its name, in place of a stale one."""
    content = {"files": _digests(temporary), "plan": asdict(plan), "measured": asdict(measured)}
    (temporary / _SEAL).write_text(json.dumps(content, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        return  # another worker has just sealed the same: its work is as good


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.name != _SEAL:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _processor() -> str:
    """The processor's model and instruction sets, where Linux tells them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    wanted = {line.split(":")[0].strip(): line for line in lines}
    return "".join(wanted.get(name, "") for name in ("model name", "flags", "Features"))
