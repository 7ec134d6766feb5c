"""Manifests of an old schema, a newer schema, or with more than the service does: served unchanged, or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resserve.manifest import FileRecord, read_manifest, write_manifest
from resserve.v1 import classifier_pb2 as pb
from tests.support.manifests import SCHEMA_1, write_signed
from tests.support.service_process import Golden, Server, code_of

Serve = Callable[..., Server]

MORE = {
    "named": ("input", "name", "pixels"),
    "float32": ("input", "dtype", "float32"),
    "planes": ("input", "layout", "NCHW"),
    "blue": ("input", "channels", "BGR"),
    "fixed": ("input", "batch", 1),
    "white": ("input", "background", (255, 255, 255)),
    "softmax": ("output", "name", "softmax"),
    "probabilities": ("output", "kind", "probabilities"),
    "last": ("output", "class_axis", -1),
    "tempered": ("output", "temperature", 2.0),
}
"""Model to the part, field and value that it asks for."""


@pytest.fixture
def own(repository: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, with `alpha` alone."""
    folder = tmp_path / "weights"
    shutil.copytree(repository / "alpha" / "1", folder / "alpha" / "1")
    return folder


def test_a_version_of_schema_1_is_served_and_verified(serve: Serve, own: Path, alpha: Golden) -> None:
    """A version as ResServe 0.1 exported it gives PyTorch's answers, and its certificate is replayed."""
    from export.verify import verify

    version = own / "alpha" / "1"
    old = json.loads((SCHEMA_1 / "alpha.json").read_text(encoding="utf-8"))
    files = {name: FileRecord.of(version / name).sha256 for name in old["files"]}
    path = write_signed(version, {**old, "files": files})
    written = path.read_bytes()
    server = serve(own)

    logits = [server.classify(image, model="alpha", logits=True).results[0].logits for image in alpha.pngs]

    assert np.abs(np.array(logits) - alpha.logits).max() <= old["certificate"]["tolerance"]
    (status,) = server.stub.ListModels(pb.ListModelsRequest()).models
    assert (status.parameters, list(status.labels)) == (old["parameters"], old["labels"])
    assert [entry.batch for entry in verify(version).entries] == [1, 2, 3, 8]
    assert path.read_bytes() == written


def test_more_than_the_service_does_is_not_served_wrongly(serve: Serve, own: Path, alpha: Golden) -> None:
    """A spec that this service does not apply, or a newer schema, fails its version by name; others are served."""
    reasons = {"newer": "is of schema 3"}
    for name, (part, field, value) in MORE.items():
        reasons[name] = f"asks for {part}.{field} = {value!r}, which this ResServe does not serve"
        version = shutil.copytree(own / "alpha" / "1", own / name / "1")
        manifest = read_manifest(version)
        spec = getattr(manifest, part).model_copy(update={field: value})
        write_manifest(version, manifest.model_copy(update={"name": name, part: spec}))
    version = shutil.copytree(own / "alpha" / "1", own / "newer" / "1")
    write_signed(version, {**json.loads((version / "manifest.json").read_bytes()), "schema_version": 3})
    server = serve(own)

    failed = {s.model.name: s.reason for s in server.stub.ListModels(pb.ListModelsRequest()).models if s.reason}

    assert failed.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in failed[name] and "upgrade ResServe" in failed[name]
        code, message = code_of(lambda name=name: server.classify(alpha.pngs[0], model=name))
        assert code == "UNAVAILABLE" and reason in message
    assert server.classify(alpha.pngs[0], model="alpha").results[0].labels
