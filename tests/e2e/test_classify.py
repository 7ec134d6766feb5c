"""`resserve classify` as people call it, with a real service: pipes, terminals, wrong ports, pictures as they come."""

import gzip
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.support.encoded_images import encode, photo
from tests.support.service_process import RESSERVE, Server, environment

PICTURE = photo((600, 400))


def classify(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [RESSERVE, "classify", *map(str, arguments)], env=environment(), capture_output=True, timeout=120, **options
    )


def test_standard_input_is_classified(service: Server) -> None:
    """`resserve classify -` answers for the bytes that are piped to it."""
    png = encode(PICTURE, "PNG")

    done = classify("-", "--json", "--model", "alpha", "--target", service.address, input=png)

    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["photo"] == "-"
    expected = service.classify(png, model="alpha").results[0].labels[0]
    assert answer["labels"][0] == {
        "index": expected.index,
        "name": expected.name,
        "probability": pytest.approx(expected.probability),
    }


def test_a_progress_bar_on_a_terminal(service: Server, tmp_path: Path) -> None:
    """On a terminal, progress is shown while a folder is classified; stdout holds the answers alone."""
    for number in range(6):
        PICTURE.save(tmp_path / f"{number}.jpg")
    parent, child = pty.openpty()

    done = subprocess.Popen(
        [RESSERVE, "classify", tmp_path, "--model", "alpha", "--json", "--target", service.address],
        env=environment(TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=child,
    )
    os.close(child)
    shown = b""
    while chunk := _read(parent):
        shown += chunk
    os.close(parent)
    out = done.communicate(timeout=120)[0]

    assert done.returncode == 0
    assert len(json.loads(out)) == 6
    assert re.search(rb"classifying.*6/6|classifying.*100%", shown, re.DOTALL)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux: the other end is closed
        return b""


def test_the_http_port_by_mistake(service: Server, tmp_path: Path) -> None:
    """The service's own HTTP port, as an address or as HOST:PORT, is answered with one sentence that helps."""
    PICTURE.save(tmp_path / "a.jpg")

    web, port = (
        classify(tmp_path / "a.jpg", "--target", target) for target in (service.http, service.http.partition("//")[2])
    )

    assert (web.returncode, port.returncode) == (1, 1)
    assert re.fullmatch(rb"resserve: http://\S+ is an address of the web: name .*, e\.g\. \S+:8001\.\n", web.stderr)
    assert re.fullmatch(rb"resserve: \S+ answers, but does not speak gRPC: is it the HTTP.*8001.*\n", port.stderr)


def progressive_with_a_video() -> bytes:
    """A motion photo of 12 megapixels."""
    return encode(PICTURE.resize((4000, 3000)), "JPEG", progressive=True) + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 400


def test_pictures_as_phones_and_downloads_leave_them(service: Server, tmp_path: Path) -> None:
    """Pictures with a tail or without their end, and those of older formats, get the answer of the plain picture."""
    jpeg, ppm = encode(PICTURE, "JPEG", quality=95), encode(PICTURE, "PPM")
    files = {
        "motion.jpg": progressive_with_a_video(),
        "pair.jpg": encode(PICTURE, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))]),
        "cut.jpg": jpeg[:-2],
        "old.ppm": ppm,
        "named.jpg": ppm,
        "grey.pgm": encode(PICTURE.convert("L"), "PPM"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    done = classify(tmp_path, "--json", "--model", "alpha", "--target", service.address)

    assert done.returncode == 0, done.stdout
    answers = json.loads(done.stdout)
    assert [Path(answer["photo"]).name for answer in answers] == sorted(files)
    plain = service.classify(jpeg, model="alpha").results[0].labels[0].name
    assert {answer["labels"][0]["name"] for answer in answers if "grey" not in answer["photo"]} == {plain}


def test_a_wrapped_picture_is_named(service: Server, tmp_path: Path) -> None:
    """What is no picture is answered with what it looks like and what to send."""
    (tmp_path / "a.jpg").write_bytes(gzip.compress(encode(PICTURE, "JPEG")))

    done = classify(tmp_path / "a.jpg", "--model", "alpha", "--target", service.address)

    assert done.returncode == 1
    assert b"The data is compressed by gzip; send what is inside" in done.stdout
