"""What this machine can train, export and serve, found without loading torch."""

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from resserve.addresses import join
from resserve.cores import cpu_quota, usable_cores
from resserve.errors import ResServeError
from resserve.repository import read_version, scan
from resserve.runtime import check_onnxruntime

TRAIN_MODULES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "scikit-learn": "sklearn",
    "matplotlib": "matplotlib",
}
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ok, a note (works, but something is missing) or a problem (serving will fail)."""

    subject: str
    state: Literal["ok", "note", "problem"]
    detail: str


def examine(repository: Path, host: str, ports: dict[str, int]) -> list[Finding]:
    """Look at everything that training, exporting and serving need.

    Args:
        repository: the folder of all models.
        host: the address that the service will listen on.
        ports: what each port is for, and its number.
    """
    return [
        Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _cores(),
        _memory(),
        _shared_memory(),
        _onnxruntime(),
        _gpu(),
        _train_extra(),
        *_repository(repository),
        *(_port(host, use, number) for use, number in ports.items()),
    ]


def _cores() -> Finding:
    quota, affinity = cpu_quota(), len(os.sched_getaffinity(0))
    limit = "no cgroup quota" if quota is None else f"a cgroup quota of {quota:.2f}".rstrip("0").rstrip(".")
    return Finding("cores", "ok", f"{usable_cores()} usable: {affinity} in the affinity mask, {limit}")


def _memory() -> Finding:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    size = {line[0].rstrip(":"): int(line[1]) * 1024 / GIB for line in lines}
    return Finding("memory", "ok", f"{size['MemTotal']:.1f} GiB, {size['MemAvailable']:.1f} GiB available")


def _shared_memory() -> Finding:
    """Training alone needs it, where processes read the images; the service takes memory without a name."""
    subject, enough = "shared memory", "serving needs none; training with --workers needs"
    try:
        free = shutil.disk_usage("/dev/shm").free / GIB
        writable = os.access("/dev/shm", os.W_OK)
    except OSError:
        free, writable = 0.0, False
    if not writable:
        return Finding(subject, "ok", f"/dev/shm cannot be written; {enough} it: use --workers 0")
    if free < 0.25:
        return Finding(
            subject,
            "ok",
            f"{free:.2f} GiB free in /dev/shm; {enough} more: --shm-size=1g in a container, or --workers 0",
        )
    return Finding(subject, "ok", f"{free:.1f} GiB free in /dev/shm")


def _onnxruntime() -> Finding:
    try:
        name = check_onnxruntime()
        import onnxruntime
    except (ResServeError, ImportError) as error:
        return Finding("onnxruntime", "problem", str(error))
    providers = ", ".join(onnxruntime.get_available_providers())
    return Finding("onnxruntime", "ok", f"{name} {metadata.version(name)} with {providers}")


def _gpu() -> Finding:
    folder = Path("/proc/driver/nvidia/gpus")
    cards = [_model_line(path) for path in sorted(folder.glob("*/information"))]
    if not cards:
        return Finding("gpu", "ok", "no NVIDIA GPU; models are served on the CPU")
    try:
        usable = check_onnxruntime() == "onnxruntime-gpu"
    except ResServeError:
        usable = False
    if not usable:
        return Finding(
            "gpu",
            "note",
            f"{', '.join(cards)}, unused: `pip uninstall onnxruntime`, then `pip install 'resserve[gpu]'`",
        )
    return Finding("gpu", "ok", ", ".join(cards))


def _model_line(information: Path) -> str:
    lines = information.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model")), "unknown card")


def _train_extra() -> Finding:
    missing = [name for name, module in TRAIN_MODULES.items() if util.find_spec(module) is None]
    if missing:
        advice = "training and exporting need `pip install 'resserve[train]'`; serving does not"
        return Finding("train extra", "note", f"{', '.join(missing)} not installed: {advice}")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "onnx"))
    return Finding("train extra", "ok", versions)


def _repository(repository: Path) -> Iterator[Finding]:
    try:
        models = scan(repository)
    except ResServeError as error:
        yield Finding("repository", "note", str(error))
        return
    versions = [read_version(repository, name, number) for name, numbers in models.items() for number in numbers]
    whole = [version for version in versions if version.manifest]
    untrained = sum(version.manifest.untrained for version in whole if version.manifest)
    note = f", {untrained} of them untrained" if untrained else ""
    yield Finding("repository", "ok", f"{repository}: {len(models)} models, {len(whole)} whole versions{note}")
    for version in versions:
        if version.problem:
            yield Finding(f"{version.name}@{version.number}", "problem", version.problem)


def _port(host: str, use: str, number: int) -> Finding:
    address = join(host, number)
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        with socket.create_server((host, number), family=family, dualstack_ipv6=dual):
            return Finding(f"{use} port", "ok", f"{address} is free")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(f"{use} port", "note", f"{address} cannot be taken ({reason}): is a service running already?")
