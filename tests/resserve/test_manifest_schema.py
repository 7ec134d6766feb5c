"""What the manifest's schemas take and refuse: every mistake is one sentence that names the field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resserve.certificate import Certificate
from resserve.errors import ResServeError
from resserve.manifest import Manifest, read_manifest, write_manifest
from tests.support.manifests import MANIFESTS, SCHEMA_1, Place, document, places, put, write_signed

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

REQUIRED = {
    *("schema_version", "name", "version", "architecture", "precision", "parameters", "multiply_adds", "labels"),
    *("input", "input.height", "input.width", "input.resize", "input.mean", "input.std", "tools", "created"),
    *("files", "files.model.onnx", "files.golden.npz", "files.model.onnx.sha256", "files.golden.npz.sha256"),
    *("provenance.kind", "provenance.sha256", "certificates"),
    *(f"certificates.{field}" for field in ("engine", "compute", "status", "reason", "tolerance", "entries")),
    *("certificates.min_top1_agreement", "certificates.accuracy.images", "certificates.accuracy.data"),
    *(f"certificates.entries.{field}" for field in ("batch", "images", "max_abs_diff", "top1_agreement")),
    *(f"certificates.accuracy.{part}.{field}" for part in ("top1", "difference") for field in ("value", "low", "high")),
    "certificates.accuracy.top1",
}
"""Of schema 2, for a version with a refused certificate."""

REFUSED = {
    "engine": "onnxruntime-cpu",
    "compute": "fp32",
    "status": "refused",
    "reason": "loses 3 points",
    "tolerance": 0.04,
    "min_top1_agreement": 1.0,
    "entries": [],
}

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def sentence(directory: Path) -> str:
    """The refusal: one short line about this file, whatever the file holds."""
    with pytest.raises(ResServeError) as caught:
        read_manifest(directory)
    message = str(caught.value)
    assert str(directory) in message and message.isprintable() and len(message) < len(str(directory)) + 400
    return message


@same_folder
@given(MANIFESTS)
def test_any_valid_manifest_is_read_as_it_was_written(tmp_path: Path, manifest: Manifest) -> None:
    """Every field of schema 2 survives the file, and the digest of what was read is the file's."""
    write_manifest(tmp_path, manifest)

    read = read_manifest(tmp_path)

    assert read.model_copy(update={"digest": manifest.digest}) == manifest
    assert f'"digest": "{read.digest}"' in (tmp_path / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["schema1", "schema2"])
def test_a_field_of_a_wrong_type_is_named(tmp_path: Path, name: str) -> None:
    """Each field of either schema, given an object that it cannot be, is refused by its name."""
    valid = document(name)
    write_signed(tmp_path, valid)
    assert read_manifest(tmp_path).name == "digits"
    for place in places(valid):
        if place != ("digest",):
            write_signed(tmp_path, put(valid, place, {"\n\x1b": [None]}))
            named = sentence(tmp_path).replace("'", "")
            assert ".".join(map(str, place)) in named, (place, named)


@pytest.mark.parametrize("name", ["schema1", "schema2"])
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    """Schema 1 needs every field; schema 2 needs the few without a default, and takes a version without the others."""
    valid = document(name)
    for place in places(valid):
        *above, field = place
        if isinstance(field, int) or place == ("digest",) or above in (["metrics"], ["tools"]):
            continue
        changed = copy.deepcopy(valid)
        inner: Any = changed
        for key in above:
            inner = inner[key]
        del inner[field]
        write_signed(tmp_path, changed)
        if name == "schema1" or ".".join(key for key in place if isinstance(key, str)) in REQUIRED:
            assert str(field) in sentence(tmp_path)
        else:
            read_manifest(tmp_path)


@same_folder
@given(st.sampled_from(["schema1", "schema2"]), st.data(), JUNK)
def test_any_altered_field_is_refused(tmp_path: Path, name: str, data: st.DataObject, junk: Any) -> None:
    """One field with another value: refused in a sentence, as its digest or its type is wrong."""
    valid = json.loads(write_signed(tmp_path, document(name)).read_text(encoding="utf-8"))
    place = data.draw(st.sampled_from(list(places(valid))))
    changed = put(valid, place, junk)
    before, after = (json.dumps(value, indent=2, ensure_ascii=False) + "\n" for value in (valid, changed))
    (tmp_path / "manifest.json").write_text(after, encoding="utf-8", errors="surrogatepass")

    if before == after:
        read_manifest(tmp_path)
    else:
        sentence(tmp_path)


@same_folder
@given(st.sampled_from(["schema1", "schema2"]), st.data(), JUNK)
def test_a_wrong_field_under_a_right_digest_is_no_traceback(
    tmp_path: Path, name: str, data: st.DataObject, junk: Any
) -> None:
    """A writer with a fault: what it wrote is a valid manifest, or a sentence."""
    valid = document(name)
    place = data.draw(st.sampled_from(list(places(valid))))
    write_signed(tmp_path, put(valid, place, junk))
    try:
        manifest = read_manifest(tmp_path)
    except ResServeError:
        sentence(tmp_path)
    else:
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path).model_copy(update={"digest": manifest.digest}) == manifest


@same_folder
@given(st.binary(max_size=200) | st.just(b"[" * 100_000) | st.just(b'{"schema_version":' + b"9" * 10_000 + b"}"))
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    """Whatever bytes the file holds, the answer is a sentence."""
    (tmp_path / "manifest.json").write_bytes(data)

    assert "is not a valid manifest" in sentence(tmp_path)


def test_a_file_of_any_size_costs_little(tmp_path: Path) -> None:
    """A sparse file of 64 GiB is refused by its size."""
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(64 * 2**30)

    assert "over 16 MiB" in sentence(tmp_path)


@pytest.mark.parametrize("newer", [3, 4_000_000_000])
def test_a_newer_schema_is_refused_by_its_number(tmp_path: Path, newer: int) -> None:
    """Whatever else a newer schema holds, the sentence says which it is and what to do."""
    write_signed(tmp_path, {"schema_version": newer, "input": "nothing that schema 2 knows"})

    assert f"is of schema {newer}, and this ResServe reads schemas 1 to 2: upgrade ResServe" in sentence(tmp_path)


@pytest.mark.parametrize("part", [(), ("files", "model.onnx"), ("certificates", 1), ("provenance",)])
def test_a_newer_writer_may_add_records(tmp_path: Path, part: Place) -> None:
    """A field that this ResServe does not know, outside input and output, does not lock the version out."""
    write_signed(tmp_path, document("schema2"))
    known = read_manifest(tmp_path)
    write_signed(tmp_path, put(document("schema2"), (*part, "novelty"), {"any": 1}))

    assert read_manifest(tmp_path).model_copy(update={"digest": known.digest}) == known


@pytest.mark.parametrize("part", ["input", "output"])
def test_nothing_that_decides_the_answer_is_overlooked(tmp_path: Path, part: str) -> None:
    """An unknown field of the input or output spec, as a newer ResServe may write, is refused by its name."""
    write_signed(tmp_path, put(document("schema2"), (part, "novelty"), 1))

    assert f"{part}.novelty is unknown to this ResServe; upgrade it" in sentence(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("input", "dtype"), "float32", "input: scale must be given for a float32 tensor"),
        (("input", "std", 1), 0.0, "input.std: a standard deviation must be greater than 0"),
        (("input", "mean", 0), float("inf"), "input.mean.0: Input should be a finite number"),
        (("input", "background", 2), 256, "input.background.2"),
        (("output", "temperature"), 0, "output.temperature"),
        (("files", "../model.onnx"), {"sha256": "0" * 64}, "files."),
        (("files", ".hidden"), {"sha256": "0" * 64}, "files."),
        (("files", "x\x1b[31m" * 10_000), {"sha256": "0" * 64}, "files."),
        (("version",), "1", "version: Input should be a valid integer"),
        (("metrics", "top1"), float("nan"), "metrics.top1: Input should be a finite number"),
        (("files", "manifest.json"), {"sha256": "0" * 64}, "files: manifest.json cannot hold its own digest"),
        (("signature",), "/etc/passwd", "signature"),
        (("certificates",), [], "certificates"),
        (("certificates", 0, "emulated"), True, "the first of certificates must be accepted and really measured"),
        (("certificates", 0), REFUSED, "the first of certificates must be accepted and really measured"),
        (("certificates", 0, "compute"), "bf16", "certificates must begin with that of onnxruntime-cpu in fp32"),
        (("certificates", 0, "engine"), "openvino", "certificates must begin with that of onnxruntime-cpu in fp32"),
        (("certificates", 1, "reason"), "", "certificates.1: reason must be given where status is refused"),
        (("certificates", 0, "reason"), "x", "certificates.0: reason must be given where status is refused"),
        (("certificates", 0, "accuracy", "top1", "low"), 0.9, "accuracy.top1: low must not be greater than high"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, place: Place, value: Any, named: str) -> None:
    """Values that cannot be true together, or would lead out of the folder."""
    valid = put(document("schema2"), ("input", "scale"), None)
    write_signed(tmp_path, valid)
    read_manifest(tmp_path)
    write_signed(tmp_path, put(valid, place, value))

    assert named in sentence(tmp_path)


def test_two_certificates_of_one_engine_and_precision_are_refused(tmp_path: Path) -> None:
    """A worker that looks one up must find one."""
    valid = document("schema2")
    valid["certificates"].append(valid["certificates"][1])
    write_signed(tmp_path, valid)

    assert "certificates: an engine has two of one compute precision" in sentence(tmp_path)


@pytest.mark.parametrize("name", ["alpha", "digits"])
def test_a_manifest_of_schema_1_is_read_as_it_was_meant(tmp_path: Path, name: str) -> None:
    """The files that ResServe 0.1 wrote say the same as then, with the defaults of its own graphs for what is new."""
    data = (SCHEMA_1 / f"{name}.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(data)
    old = json.loads(data)

    manifest = read_manifest(tmp_path)

    for field in ("name", "version", "architecture", "precision", "untrained", "parameters", "multiply_adds", "labels"):
        assert getattr(manifest, field) == old[field]
    assert (manifest.metrics, manifest.metrics_data) == (old["metrics"], old["metrics_data"])
    assert {name: file.sha256 for name, file in manifest.files.items()} == old["files"]
    assert old["input"].items() <= manifest.input.model_dump(mode="json").items()
    assert (manifest.input.name, manifest.input.batch, manifest.input.background) == ("images", None, None)
    assert (manifest.output.name, manifest.output.kind, manifest.output.temperature) == ("logits", "logits", 1)
    assert (manifest.provenance.sha256 if manifest.provenance else None) == old["checkpoint_sha256"]
    (certificate,) = manifest.certificates
    assert (certificate.engine, certificate.compute, certificate.status) == ("onnxruntime-cpu", "fp32", "accepted")
    assert certificate.tolerance == old["certificate"]["tolerance"]
    assert [(one.batch, one.images, one.max_abs_diff) for one in certificate.entries] == [
        (one["batch"], 8, one["max_abs_diff"]) for one in old["certificate"]["entries"]
    ]


def test_a_loss_that_was_not_finite_is_left_out(tmp_path: Path) -> None:
    """Schema 1 could hold NaN, which is no JSON: such a version is still read."""
    write_signed(tmp_path, put(document("schema1"), ("metrics", "loss"), float("nan")))

    assert read_manifest(tmp_path).metrics == {"top1": 0.84}


def test_the_certificate_of_an_engine(tmp_path: Path) -> None:
    """An engine has its own, accepted or refused; in the first one's precision any other is held to the first."""
    write_signed(tmp_path, document("schema2"))
    manifest = read_manifest(tmp_path)

    def found(engine: str, compute: str) -> Certificate | None:
        return manifest.certificate_for(engine, compute)

    first, refused = manifest.certificates
    assert manifest.certificate == first
    assert found("openvino", "bf16") == refused and refused.status == "refused"
    assert found("onnxruntime-cpu", "fp32") == found("onnxruntime-cuda", "fp32") == first
    assert found("onnxruntime-cuda", "fp16") is None
