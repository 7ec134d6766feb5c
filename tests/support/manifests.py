"""Valid manifests, some by hypothesis, and manifests signed as docs/export.md says, apart from the code under test."""

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from resserve.certificate import Accuracy, Certificate, CertificateEntry, Estimate
from resserve.manifest import FileRecord, InputSpec, Manifest, OutputSpec, Provenance

Place = tuple[str | int, ...]
"""The keys that lead to a field."""

SCHEMA_1 = Path(__file__).parent / "schema1"
"""Manifests as `resserve export` wrote them on 2026-11-27, byte for byte, before there was a schema 2."""

_SHARES = st.floats(0, 1)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
_COUNTS = st.integers(1, 2**40)
_DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
_WORDS = st.text("abcxyz019_-", max_size=9).map("e".__add__)
_TEXTS = st.text(max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _FLOATS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(_TEXTS, _JSON, max_size=3)
_NORMALISATION = st.tuples(_POSITIVE, st.tuples(_FLOATS, _FLOATS, _FLOATS), st.tuples(_POSITIVE, _POSITIVE, _POSITIVE))


@st.composite
def _inputs(draw: st.DrawFn) -> InputSpec:
    dtype = draw(st.sampled_from(["uint8", "float32", "float16"]))
    known = dtype != "uint8" or draw(st.booleans())
    scale, mean, std = draw(_NORMALISATION) if known else (None, None, None)
    return InputSpec(
        name=draw(st.text(min_size=1, max_size=9)),
        dtype=dtype,
        layout=draw(st.sampled_from(["NHWC", "NCHW"])),
        channels=draw(st.sampled_from(["RGB", "BGR"])),
        batch=draw(st.none() | _COUNTS),
        height=draw(_COUNTS),
        width=draw(_COUNTS),
        resize=draw(_COUNTS),
        interpolation=draw(st.sampled_from(["bilinear", "bicubic"])),
        background=draw(st.none() | st.tuples(*[st.integers(0, 255)] * 3)),
        scale=scale,
        mean=mean,
        std=std,
    )


_OUTPUTS = st.builds(
    OutputSpec,
    name=st.text(min_size=1, max_size=9),
    kind=st.sampled_from(["logits", "probabilities"]),
    class_axis=st.integers(-4, 4),
    temperature=_POSITIVE,
)
_ESTIMATES = st.tuples(_FLOATS, _FLOATS, _FLOATS).map(sorted).map(lambda x: Estimate(low=x[0], value=x[1], high=x[2]))
_ACCURACIES = st.builds(Accuracy, images=_COUNTS, data=_TEXTS, top1=_ESTIMATES, difference=st.none() | _ESTIMATES)
_ENTRIES = st.builds(
    CertificateEntry,
    batch=_COUNTS,
    images=_COUNTS,
    max_abs_diff=_POSITIVE,
    top1_agreement=_SHARES,
    decided_images=st.none() | _COUNTS,
    decided_agreement=st.none() | _SHARES,
)


@st.composite
def _certificates(draw: st.DrawFn, precision: str) -> list[Certificate]:
    pairs = [("onnxruntime-cpu", precision), *draw(st.lists(st.tuples(_WORDS, _WORDS), max_size=2, unique=True))]
    certificates = []
    for number, (engine, compute) in enumerate(pairs):
        reason = draw(_TEXTS) if number else ""
        certificates.append(
            Certificate(
                engine=engine,
                compute=compute,
                status="refused" if reason else "accepted",
                reason=reason,
                tolerance=draw(_POSITIVE),
                min_top1_agreement=draw(_SHARES),
                entries=draw(st.lists(_ENTRIES, max_size=2)),
                accuracy=draw(st.none() | _ACCURACIES),
                instruction_set=draw(_TEXTS),
                engine_version=draw(_TEXTS),
                emulated=bool(number) and draw(st.booleans()),
            )
        )
    return certificates


_PROVENANCES = st.builds(
    Provenance,
    kind=st.sampled_from(["checkpoint", "state_dict", "onnx"]),
    file=_TEXTS,
    sha256=_DIGESTS,
    data_fingerprint=_TEXTS,
    epoch=st.none() | _COUNTS,
    recipe=_OBJECTS,
    shortcut_padding=st.sampled_from([None, "behind", "both"]),
)
_RECORDS = st.builds(FileRecord, sha256=_DIGESTS, bytes=st.none() | _COUNTS)


def _manifests(precision: str) -> st.SearchStrategy[Manifest]:
    return st.builds(
        Manifest,
        name=st.text(min_size=1, max_size=9),
        version=_COUNTS,
        architecture=_TEXTS,
        arguments=_OBJECTS,
        precision=st.just(precision),
        untrained=st.booleans(),
        unverified=st.booleans(),
        parameters=_COUNTS,
        multiply_adds=_COUNTS,
        input=_inputs(),
        output=_OUTPUTS,
        labels=st.lists(_TEXTS, min_size=1, max_size=4),
        metrics=st.dictionaries(_TEXTS, _FLOATS, max_size=3),
        metrics_data=_TEXTS,
        files=st.fixed_dictionaries(
            {"model.onnx": _RECORDS, "golden.npz": _RECORDS}, optional={"model.onnx.data": _RECORDS}
        ),
        provenance=st.none() | _PROVENANCES,
        tools=st.dictionaries(_TEXTS, _TEXTS, max_size=3),
        created=_TEXTS,
        reference=st.sampled_from(["pytorch", "onnxruntime"]),
        certificates=_certificates(precision),
        signature=st.sampled_from([None, "model.sig"]),
    )


MANIFESTS = st.sampled_from(["fp32", "fp16", "int8"]).flatmap(_manifests)


def document(name: str) -> dict[str, Any]:
    """A manifest of schema 1, or the same in schema 2 with every optional part."""
    old = json.loads((SCHEMA_1 / "digits.json").read_text(encoding="utf-8"))
    if name == "schema1":
        return old
    estimate = {"value": 0.84, "low": 0.8, "high": 0.87}
    entry = {"batch": 8, "images": 256, "max_abs_diff": 0.01, "top1_agreement": 0.99}
    certificate = {
        "engine": "onnxruntime-cpu",
        "compute": "fp32",
        "tolerance": 0.04,
        "min_top1_agreement": 1.0,
        "entries": [{**entry, "decided_images": 250, "decided_agreement": 1.0}],
        "accuracy": {"images": 360, "data": "digits", "top1": estimate, "difference": estimate},
        "instruction_set": "amx_bf16",
        "engine_version": "1.32.0",
    }
    refused = {"engine": "openvino", "compute": "bf16", "status": "refused", "reason": "loses 5 points"}
    digest = "0" * 64
    unchanged = ("name", "version", "architecture", "precision", "parameters", "multiply_adds", "labels", "tools")
    new = {
        "schema_version": 2,
        **{field: old[field] for field in unchanged},
        "created": old["created"],
        "input": {**old["input"], "background": [255, 255, 255], "batch": 4, "scale": 0.5},
        "output": {"name": "prob", "kind": "probabilities", "class_axis": -1, "temperature": 1.5},
        "metrics": {"top1": 0.84},
        "files": {name: {"sha256": digest, "bytes": 9} for name in ("model.onnx", "golden.npz")},
        "provenance": {"kind": "onnx", "file": "a.onnx", "sha256": digest, "epoch": 3, "shortcut_padding": "both"},
        "certificates": [certificate, {**certificate, **refused}],
        "signature": "model.sig",
        "digest": digest,
    }
    return json.loads(json.dumps(new))  # no part is the same object as another


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every field and element, at every depth."""
    if place:
        yield place
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*place, key))


def put(value: Any, place: Place, new: Any) -> Any:
    """A copy with another value in one place."""
    changed = copy.deepcopy(value)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    return changed


def write_signed(directory: Path, document: Any) -> Path:
    """Write a manifest with the right digest, whatever else is wrong with it, as a writer with a fault would."""
    text = json.dumps({**document, "digest": "0" * 64}, indent=2, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = directory / "manifest.json"
    path.write_text(text.replace(f'"digest": "{"0" * 64}"', f'"digest": "{digest}"'), encoding="utf-8")
    return path
