"""What is served, and what is refused: versions on disk that are not what they were certified as."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resserve.files import GOLDEN, sha256_file
from resserve.manifest import FileRecord, Manifest, read_manifest, write_manifest
from resserve.v1 import classifier_pb2 as pb
from tests.support.service_process import Golden, Server, code_of, refuse

Serve = Callable[..., Server]


@pytest.fixture
def own(repository: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, without what services have cached in it."""
    folder = tmp_path / "weights"
    shutil.copytree(repository, folder, ignore=shutil.ignore_patterns(".optimised"))
    return folder


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


def cached(repository: Path, name: str) -> Path:
    """The folder of the optimised model."""
    (folder,) = (repository / name / ".optimised").iterdir()
    return folder


def twin(repository: Path, name: str) -> Path:
    """The version again, under another name."""
    version = shutil.copytree(repository / "alpha" / "1", repository / name / "1")
    write_manifest(version, read_manifest(version).model_copy(update={"name": name}))
    return version


def answers(server: Server, golden: Golden, model: str) -> bool:
    """Whether the golden images are answered as PyTorch does."""
    logits = [server.classify(image, model=model, logits=True).results[0].logits for image in golden.pngs]
    return bool(np.abs(np.array(logits) - golden.logits).max() <= golden.tolerance)


def drift(version: Path, by: float) -> None:
    """Move the golden logits, and sign the version anew: all digests are right, the answers are not."""
    with np.load(version / GOLDEN) as golden:
        images, logits = golden["images"], golden["logits"]
    np.savez_compressed(version / GOLDEN, images=images, logits=logits + np.float32(by))
    manifest = read_manifest(version)
    files = {**manifest.files, GOLDEN: FileRecord.of(version / GOLDEN)}
    write_manifest(version, Manifest(**{**manifest.model_dump(), "files": files}))


BREAK: dict[str, tuple[Callable[[Path], object], str]] = {
    "model": (lambda version: flip(version / "model.onnx"), "model.onnx was altered"),
    "model-header": (lambda version: flip(version / "model.onnx", 0), "model.onnx was altered"),
    "golden": (lambda version: flip(version / GOLDEN), "golden.npz was altered"),
    "golden-end": (lambda version: flip(version / GOLDEN, 0.999), "golden.npz was altered"),
    "manifest": (lambda version: flip(version / "manifest.json"), "manifest"),
    "model-missing": (lambda version: (version / "model.onnx").unlink(), "model.onnx is missing"),
    "golden-missing": (lambda version: (version / GOLDEN).unlink(), "golden.npz is missing"),
    "drift": (lambda version: drift(version, 0.01), "drifts from PyTorch"),
}


@pytest.mark.parametrize("cache", [False, True], ids=["new", "cached"])
def test_altered_versions_are_refused_and_the_others_served(
    serve: Serve, own: Path, repository: Path, service: Server, alpha: Golden, cache: bool
) -> None:
    """One flipped bit in any file, a missing one, or answers that drift: refused with the reason, on every start.

    The cache is that of the unaltered version: it must not hide what has happened to it.
    """
    shutil.rmtree(own / "beta")
    for name, (damage, _) in BREAK.items():
        version = twin(own, name)
        if cache:
            sealed = cached(repository, "alpha")
            shutil.copytree(sealed, own / name / ".optimised" / sealed.name)
        damage(version)
    server = serve(own)
    models = {s.model.name: s for s in server.stub.ListModels(pb.ListModelsRequest()).models}
    ready = json.loads(server.get("/readyz")[1])["models"]

    for name, (_, reason) in BREAK.items():
        code, message = code_of(lambda name=name: server.classify(alpha.pngs[0], model=name))
        assert code == "UNAVAILABLE" and reason in message
        assert models[name].state == pb.MODEL_STATE_FAILED and reason in models[name].reason
        assert ready[name]["state"] == "FAILED" and reason in ready[name]["reason"]
        assert server.health(name) == "NOT_SERVING"
        if name.startswith("model") and not cache:
            assert not list((own / name).glob(".optimised/*")), "what was altered is not to be cached"
    assert (server.health("alpha"), server.health(""), server.get("/readyz")[0]) == ("SERVING", "SERVING", 200)
    assert answers(server, alpha, "alpha")
    assert server.metric("resserve_worker_restarts_total") == 0, "a refusal is no crash"


def test_a_version_altered_behind_its_copy_is_refused(serve: Serve, own: Path, tmp_path: Path) -> None:
    """The optimised copy that runs does not hide that the original was altered, be its time of change set back."""
    shutil.rmtree(own / "beta")
    assert serve(own).stop() == 0
    model = own / "alpha" / "1" / "model.onnx"
    before = model.stat()
    flip(model)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert cached(own, "alpha") and model.stat().st_mtime_ns == before.st_mtime_ns
    code, said = refuse(own, tmp_path)
    assert code == 1 and "model.onnx was altered" in said


def test_nothing_to_serve_is_no_service(own: Path, tmp_path: Path) -> None:
    """Where every version is refused the service ends with the reasons, and exit code 1."""
    flip(own / "alpha" / "1" / "model.onnx")
    flip(own / "beta" / "1" / "manifest.json")
    code, said = refuse(own, tmp_path)

    assert code == 1 and "model.onnx was altered" in said and "manifest.json" in said
    assert "Traceback" not in said and not (tmp_path / "ready.json").exists()


TAMPER: dict[str, Callable[[Path], object]] = {
    "model": lambda folder: flip(folder / "model.onnx"),
    "weights": lambda folder: flip(folder / "model.bin"),
    "seal": lambda folder: flip(folder / "seal.json"),
    "more": lambda folder: (folder / "more.bin").write_bytes(b"?"),
    "less": lambda folder: (folder / "model.bin").unlink(),
    "shorter": lambda folder: os.truncate(folder / "model.bin", 1000),
}


def test_an_altered_cache_is_built_again(serve: Serve, own: Path, repository: Path, alpha: Golden, service) -> None:
    """An optimised model that is not what was sealed is not trusted: it is made anew from the certified one.

    The one that is as it was sealed is taken as it is.
    """
    shutil.rmtree(own / "beta")
    sealed = cached(repository, "alpha")
    for name in [*TAMPER, "alpha"]:
        if name != "alpha":
            twin(own, name)
        shutil.copytree(sealed, own / name / ".optimised" / sealed.name)
    for name, tamper in TAMPER.items():
        tamper(cached(own, name))
    before = {path.name: path.stat().st_mtime_ns for path in cached(own, "alpha").iterdir()}
    server = serve(own)

    for name in TAMPER:
        folder = cached(own, name)
        assert answers(server, alpha, name)
        assert {path.name for path in folder.iterdir()} == set(before)
        files = json.loads((folder / "seal.json").read_bytes())["files"]
        assert files == {file: sha256_file(folder / file) for file in set(before) - {"seal.json"}}
    assert answers(server, alpha, "alpha")
    assert {path.name: path.stat().st_mtime_ns for path in cached(own, "alpha").iterdir()} == before


def test_a_repository_that_cannot_be_written_is_served(serve: Serve, own: Path, alpha: Golden) -> None:
    """Where no cache can be kept, as in a read-only file system, the model is served without."""
    blocked = own / "alpha" / ".optimised"
    blocked.touch()  # a file where the folder would be: refused to root too
    server = serve(own, "--model", "alpha")

    assert answers(server, alpha, "alpha")
    assert blocked.is_file()


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_repository_is_served(serve: Serve, own: Path, alpha: Golden) -> None:
    """Permissions that forbid writing keep nothing from being served."""
    for folder in (own, own / "alpha", own / "alpha" / "1"):
        folder.chmod(0o555)
    try:
        assert answers(serve(own, "--model", "alpha"), alpha, "alpha")
    finally:
        for folder in (own, own / "alpha", own / "alpha" / "1"):
            folder.chmod(0o755)


def test_the_newest_version_is_served_unless_told(serve: Serve, own: Path, alpha: Golden) -> None:
    """NAME takes the newest version, NAME@VERSION that one."""
    shutil.copytree(own / "alpha" / "1", own / "alpha" / "12")
    manifest = read_manifest(own / "alpha" / "1")
    write_manifest(own / "alpha" / "12", manifest.model_copy(update={"version": 12}))

    assert serve(own).classify(alpha.pngs[0], model="alpha").model.version == 12
    assert serve(own, "--model", "alpha@1").classify(alpha.pngs[0]).model.version == 1
