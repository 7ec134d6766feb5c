"""Certified model versions whose graph does something terrible for one colour: hand-built, signed like any other."""

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from resserve.certificate import Certificate, CertificateEntry
from resserve.manifest import FileRecord, InputSpec, Manifest, write_manifest
from tests.support.service_process import png

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="integer overflow traps on x86 only")
SIDE = 8
CALM, TERRIBLE = 7, 255
"""Values of the first pixel's red: any but TERRIBLE is answered."""

# The red of each image's first pixel, as int32 [N].
_RED = """
  zero = Constant<value = int64[3] {0, 0, 0}>()
  one = Constant<value = int64[3] {1, 1, 1}>()
  axes = Constant<value = int64[3] {1, 2, 3}>()
  pixel = Slice(images, zero, one, axes)
  wide = Cast<to = 6>(pixel)
  flat = Constant<value = int64[1] {-1}>()
  red = Reshape(wide, flat)
"""
# Two logits that tell the reds apart, of `value`, int32 [N].
_LOGITS = """
  number = Cast<to = 1>(value)
  last = Constant<value = int64[1] {1}>()
  column = Unsqueeze(number, last)
  negative = Neg(column)
  logits = Concat<axis = 1>(column, negative)
"""
# INT32_MIN / -1 traps on x86: SIGFPE ends the process.
_CRASH = """
  least = Constant<value = int32 {-2147483648}>()
  limit = Constant<value = int32 {256}>()
  step = Sub(red, limit)
  quotient = Div(least, step)
  nothing = Sub(quotient, quotient)
  value = Add(red, nothing)
"""
# Division by zero is an error that the runtime reports.
_ERROR = """
  many = Constant<value = int32 {1000}>()
  limit = Constant<value = int32 {255}>()
  step = Sub(red, limit)
  quotient = Div(many, step)
  nothing = Sub(quotient, quotient)
  value = Add(red, nothing)
"""
# A loop that goes on while any red is the terrible one.
_HANG = """
  worst = ReduceMax<keepdims = 0>(red)
  limit = Constant<value = int32 {254}>()
  go = Greater(worst, limit)
  many = Constant<value = int64 {9223372036854775807}>()
  start = Constant<value = int32 {0}>()
  nothing = Loop(many, go, start) <body = b (int64 i, bool goes, int32 s) => (bool goes_on, int32 t) {
    goes_on = Identity(goes)
    t = Identity(s)
  }>
  value = Add(red, nothing)
"""
# About as long as ResNet-50 takes at 224 px: slow enough that the model, and not the protocol, is what limits.
_SLOW = """
  go = Constant<value = int32 {1}>()
  goes = Cast<to = 9>(go)
  many = Constant<value = int64 {150000}>()
  start = Constant<value = int32 {0}>()
  nothing = Loop(many, goes, start) <body = b (int64 i, bool on, int32 s) => (bool goes_on, int32 t) {
    goes_on = Identity(on)
    t = Identity(s)
  }>
  value = Add(red, nothing)
"""
_BODIES = {"crash": _CRASH, "error": _ERROR, "hang": _HANG, "slow": _SLOW}


def picture(red: int, mark: int = 0) -> bytes:
    """A PNG file whose first pixel has this red; `mark` makes it differ from others of the same red."""
    pixels = np.full((SIDE, SIDE, 3), mark, np.uint8)
    pixels[0, 0] = (red, 0, 0)
    return png(pixels)


def answer(red: int) -> list[float]:
    """The logits for it."""
    return [float(red), -float(red)]


def write_version(repository: Path, kind: str, number: int = 1) -> None:
    """Write `repository/<kind>/<number>`, a model that crashes, hangs or fails for TERRIBLE pictures, or is slow."""
    version = repository / kind / str(number)
    version.mkdir(parents=True)
    graph = f"g (uint8[N, {SIDE}, {SIDE}, 3] images) => (float[N, 2] logits) {{ {_RED} {_BODIES[kind]} {_LOGITS} }}"
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {graph}')
    onnx.checker.check_model(model)
    onnx.save(model, version / "model.onnx")
    images = np.random.default_rng(0).integers(0, 250, (8, SIDE, SIDE, 3), dtype=np.uint8)
    session = ort.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    np.savez_compressed(version / "golden.npz", images=images, logits=session.run(None, {"images": images})[0])
    entry = CertificateEntry(batch=8, images=8, max_abs_diff=0, top1_agreement=1)
    manifest = Manifest(
        name=kind,
        version=number,
        architecture="hazard",
        precision="fp32",
        parameters=1,
        multiply_adds=1,
        input=InputSpec(height=SIDE, width=SIDE, resize=SIDE, mean=(0, 0, 0), std=(1, 1, 1)),
        labels=["up", "down"],
        files={name: FileRecord.of(version / name) for name in ("model.onnx", "golden.npz")},
        tools={"onnx": onnx.__version__},
        created="2026-01-01T00:00:00+00:00",
        certificates=[
            Certificate(engine="onnxruntime-cpu", compute="fp32", tolerance=1e-3, min_top1_agreement=1, entries=[entry])
        ],
    )
    write_manifest(version, manifest)
