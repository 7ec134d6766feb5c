"""The manifest and its certificate: what is accepted, and what never is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from resserve.certificate import Certificate
from resserve.errors import ResServeError
from resserve.golden import compare
from resserve.manifest import FileRecord, InputSpec, Manifest, read_manifest, write_manifest

FINITE = st.floats(-1000, 1000, width=32)
LOGITS = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=FINITE)


def _manifest() -> Manifest:
    return Manifest(
        name="net",
        version=1,
        architecture="resnet20",
        precision="fp32",
        parameters=1,
        multiply_adds=1,
        input=InputSpec(height=8, width=8, resize=8, mean=(0, 0, 0), std=(1, 1, 1)),
        labels=["été", "日本", 'quo"te'],
        metrics={"top1": 0.1 + 0.2, "loss": 1e-30},
        files=dict.fromkeys(("model.onnx", "golden.npz"), FileRecord(sha256="0" * 64)),
        tools={},
        created="2026-01-01T00:00:00+00:00",
        certificates=[
            Certificate(engine="onnxruntime-cpu", compute="fp32", tolerance=1e-5, min_top1_agreement=0.75, entries=[])
        ],
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Odd labels and floats survive the round trip, digest included."""
    write_manifest(tmp_path, _manifest())

    read = read_manifest(tmp_path)

    assert read.model_copy(update={"digest": _manifest().digest}) == _manifest()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1', '"version": 2', "was altered"),
        ('"version": 1', '"version": 0', "version: Input should be greater than 0"),
        ('"version": 1', '"version": 1, "extra": 1', "was altered"),
        ('"version": 1', '"version":  1', "was altered"),
        ('"version": 1', "", "not a valid manifest"),
        ('"schema_version": 2', '"schema_version": 1', "not a valid manifest"),
    ],
)
def test_edits_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    """A changed value, an unknown field, a wrong type or another spacing: each is named."""
    write_manifest(tmp_path, _manifest())
    path = tmp_path / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text

    with pytest.raises(ResServeError, match=message):
        read_manifest(tmp_path)


@given(LOGITS)
def test_logits_equal_to_the_golden_ones_agree(golden: np.ndarray) -> None:
    """No difference, all top answers equal."""
    assert compare(golden.copy(), golden) == (0, 1)


@given(LOGITS, st.data())
def test_the_largest_difference_is_found_wherever_it_is(golden: np.ndarray, data: st.DataObject) -> None:
    """One changed logit is the difference."""
    logits = golden.copy()
    place = tuple(data.draw(st.integers(0, side - 1)) for side in golden.shape)
    logits[place] += np.float32(data.draw(st.floats(-100, 100, width=32)))

    difference, agreement = compare(logits, golden)

    assert difference == abs(float(logits[place]) - float(golden[place]))
    assert round(agreement * len(golden)) >= len(golden) - 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", [0, 1])
def test_what_is_not_finite_never_agrees(value: float, broken: int) -> None:
    """NaN compares false with any bound, so it must not reach one."""
    pair = [np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)]
    pair[broken][1, 1] = value

    assert compare(*pair) == (np.inf, 0)


def test_shapes_must_match() -> None:
    """Logits of other classes or images are an error, not a broadcast."""
    with pytest.raises(ResServeError, match="export the model again"):
        compare(np.zeros((1, 3), np.float32), np.zeros((2, 3), np.float32))


def test_a_certificate_judges_both_bounds() -> None:
    """Either bound alone refuses, naming what ran and by how much it is off."""
    certificate = Certificate(engine="openvino", compute="bf16", tolerance=0.5, min_top1_agreement=0.75, entries=[])
    golden = np.eye(8, dtype=np.float32)

    entry = certificate.check(golden + 0.25, golden, batch=3)
    assert (entry.batch, entry.images, entry.max_abs_diff) == (3, 8, 0.25)
    with pytest.raises(ResServeError, match=r"openvino in bf16 at batch 3 drifts .* 0\.75 \(allowed 0\.5\)"):
        certificate.check(golden + 0.75, golden, batch=3)
    turned = golden * 0.6 + np.roll(golden, 1, axis=1) * 0.7 * np.arange(8)[:, None].clip(0, 3) / 3
    turned[:5] = golden[:5]
    with pytest.raises(ResServeError, match=r"62\.5% of the top answers agree \(required 75\.0%\)"):
        certificate.model_copy(update={"tolerance": 10}).check(turned, golden, batch=1)
