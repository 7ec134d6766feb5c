"""Errors of the HTTP port: JSON bodies, whatever was wrong."""

import json
import socket

import pytest

from tests.support.http_port import Port

NOTHING = "There is nothing at {}; there is /, /metrics, /livez, /readyz, /api/models and /api/classify."


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/api/classify/x.jpg", "/../server.py"])
def test_what_is_not_there_is_told_in_json(port: Port, path: str) -> None:
    """404 names the path and what there is."""
    status, headers, body = port.call("GET", path)

    assert (status, headers["content-type"]) == (404, "application/json")
    assert json.loads(body) == {"error": {"code": "NOT_FOUND", "message": NOTHING.format(path)}}


@pytest.mark.parametrize(
    ("method", "path", "allowed", "message"),
    [
        ("GET", "/api/classify", {"POST", "PUT"}, "GET is not offered at /api/classify; offered: "),
        ("POST", "/metrics", {"GET", "HEAD"}, "POST is not offered at /metrics; offered: "),
        ("PUT", "/x.jpg", {"GET", "HEAD"}, "PUT is not offered at /x.jpg; offered: "),
        ("DELETE", "/api/models", {"GET", "HEAD"}, "DELETE is not offered at /api/models; offered: "),
    ],
)
def test_a_wrong_method_is_told_in_json(port: Port, method: str, path: str, allowed: set[str], message: str) -> None:
    """405 names the methods that there are, in the header Allow too, and where pictures go."""
    status, headers, body = port.call(method, path)

    assert (status, set(headers["allow"].split(", "))) == (405, allowed)
    error = json.loads(body)["error"]
    assert error["code"] == "UNIMPLEMENTED" and error["message"].startswith(message)
    assert error["message"].endswith("Pictures go to /api/classify.") == (method in ("POST", "PUT"))


def test_a_mistake_of_ours_is_told_in_json(port: Port) -> None:
    """A handler that raises is answered with 500 and an opaque id, confined like every answer."""
    status, headers, body = port.call("POST", "/api/classify?model=broken", b"picture")

    error = json.loads(body)["error"]
    assert (status, error["code"]) == (500, "INTERNAL")
    assert error["message"].startswith("Something went wrong in the service; its log has more under id ")
    assert "mistake" not in error["message"] and "content-security-policy" in headers


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n",
        b"POST /api/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot a length\r\n",
    ],
    ids=["tls", "no version", "no header", "bad chunk"],
)
def test_what_is_no_http_is_told_in_json(port: Port, request_bytes: bytes) -> None:
    """400 with a sentence, and the connection ends."""
    with socket.create_connection(("127.0.0.1", port.port), timeout=60) as connection:
        connection.sendall(request_bytes)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"\r\nContent-Type: application/json\r\n" in head
    message = "This is no valid HTTP/1.1 request."
    assert json.loads(body) == {"error": {"code": "INVALID_ARGUMENT", "message": message}}
