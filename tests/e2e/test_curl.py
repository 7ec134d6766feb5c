"""The commands of docs/operating.md that send a picture over HTTP, as they stand there, and what comes of others."""

import base64
import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.service_process import Golden, Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "operating.md"
COMMANDS = [line.strip() for line in DOCUMENT.read_text().splitlines() if line.startswith("    curl ")]

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl, which is not installed")


def run(command: str, server: Server, folder: Path) -> dict[str, object]:
    """The answer to a command, sent to this service and its model."""
    command = command.replace("http://127.0.0.1:8002", server.http).replace("resnet50", "alpha")
    quiet = command.replace("curl ", "curl --silent --noproxy '*' ", 1)
    done = subprocess.run(quiet, shell=True, cwd=folder, capture_output=True, timeout=120, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_commands_classify(command: str, service: Server, alpha: Golden, tmp_path: Path) -> None:
    """Each gives the classes that the same picture gets over gRPC."""
    (tmp_path / "x.jpg").write_bytes(alpha.pngs[0])
    answer = run(command, service, tmp_path)

    labels = service.classify(alpha.pngs[0], model="alpha").results[0].labels
    assert [label["index"] for label in answer["labels"]] == [label.index for label in labels]


@pytest.mark.parametrize("option", ["--data-binary @", "-T ", "-F image=@"])
def test_a_large_picture_goes_through(option: str, service: Server, tmp_path: Path) -> None:
    """Three megabytes, for which curl first asks to go on: the image is refused as such, whole and uncut."""
    (tmp_path / "x.jpg").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3_000_000))
    answer = run(f"curl {option}x.jpg 'http://127.0.0.1:8002/api/classify?model=resnet50'", service, tmp_path)

    assert answer["error"]["code"] == "INVALID_ARGUMENT" and "curl" not in answer["error"]["message"]


@pytest.mark.parametrize("option", ["-d @x.jpg", "-d @base64", "--data-binary @base64", "-T json", "-F image=@base64"])
def test_what_is_no_picture_gets_the_command(option: str, service: Server, alpha: Golden, tmp_path: Path) -> None:
    """A picture that curl damages, base64 and JSON: the answer has the commands that work."""
    (tmp_path / "x.jpg").write_bytes(alpha.pngs[0])
    (tmp_path / "base64").write_bytes(base64.b64encode(alpha.pngs[0]))
    (tmp_path / "json").write_text(json.dumps({"image": base64.b64encode(alpha.pngs[0]).decode()}))
    answer = run(f"curl {option} 'http://127.0.0.1:8002/api/classify?model=resnet50'", service, tmp_path)

    assert answer["error"]["code"] == "INVALID_ARGUMENT"
    assert "curl --data-binary @x.jpg, curl -T x.jpg or curl -F image=@x.jpg." in answer["error"]["message"]
    assert ("With -d curl leaves bytes of a file out" in answer["error"]["message"]) == (option == "-d @x.jpg")


def test_every_log_line_is_json(service: Server) -> None:
    """An invalid request and a path that is not there leave no line of another form."""
    host, _, port = service.http.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    assert service.get("/nothing")[0] == 404

    assert service.events("Invalid HTTP request received.")
    assert [line for line in service.text.splitlines() if not line.startswith('{"process": ')] == []
