"""The HTTP port by itself, over real connections; what it shows is given."""

import http.client
import json
from contextlib import closing

import pytest

from resserve.errors import ResServeError
from service.system.sockets import listen
from service.web.errors import HTTP_STATUS
from service.web.upload import MAX_PICTURE_BYTES
from tests.support.http_port import Port

MIB = 2**20


def test_metrics_are_in_the_text_format(port: Port) -> None:
    """A scrape gets the exposition with the content type of format 0.0.4."""
    status, headers, body = port.call("GET", "/metrics")

    assert (status, body) == (200, b"one_total 1.0\n")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_readiness_is_not_liveness(port: Port) -> None:
    """A service that is not ready says so with 503 and its models' states, and is alive all the same."""
    assert port.call("GET", "/readyz")[0] == 200
    port.ready = False
    status, _, body = port.call("GET", "/readyz")

    assert (status, json.loads(body)["models"]) == (503, {"a": {"state": "READY", "reason": ""}})
    assert port.call("GET", "/livez")[0] == 200


def test_models_come_with_the_grpc_port(port: Port) -> None:
    """The page learns where the same call is answered over gRPC."""
    assert json.loads(port.call("GET", "/api/models")[2]) == {"grpc_port": 1234, "models": [{"name": "a"}]}


@pytest.mark.parametrize("code", HTTP_STATUS)
def test_each_code_has_its_status(port: Port, code: str) -> None:
    """An error keeps its code and its sentence, under the HTTP status of that code."""
    status, _, body = port.call("POST", f"/api/classify?model={code}", b"\xff\xd8\xff")

    assert (status, json.loads(body)) == (HTTP_STATUS[code], {"error": {"code": code, "message": "No."}})


def test_the_body_reaches_the_model(port: Port) -> None:
    """A body of exactly 20 MiB is passed on, whole, with the model's decoded name."""
    status, _, body = port.call("POST", "/api/classify?model=caf%C3%A9", bytes(MAX_PICTURE_BYTES))

    assert (status, json.loads(body)["model"]) == (200, "café")
    assert port.seen == [(MAX_PICTURE_BYTES, "café")]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_refused_early(port: Port, declared: bool) -> None:
    """One byte too many is refused with 413 and a sentence, whether its length is declared or found out by reading."""
    if declared:
        with closing(http.client.HTTPConnection("127.0.0.1", port.port, timeout=60)) as connection:
            connection.putrequest("POST", "/api/classify?model=a")
            connection.putheader("Content-Length", str(MAX_PICTURE_BYTES + 1))
            connection.endheaders()  # and not one byte of the body
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
    else:
        status, _, body = port.call("POST", "/api/classify?model=a", iter([bytes(MIB)] * 20 + [b"x"]))

    message = "The image is larger than 20 MiB, the most that is read."
    assert (status, json.loads(body)) == (413, {"error": {"code": "INVALID_ARGUMENT", "message": message}})
    assert port.seen == []


def test_a_large_body_is_refused_where_there_is_no_memory(port: Port) -> None:
    """While memory is short a body of a mebibyte is read, and a larger one is refused with 429 and a sentence."""
    port.full = True

    assert port.call("POST", "/api/classify?model=a", bytes(MIB))[0] == 200
    status, _, body = port.call("POST", "/api/classify?model=a", bytes(MIB + 1))

    message = "More is being sent than there is memory for: try again."
    assert (status, json.loads(body)) == (429, {"error": {"code": "RESOURCE_EXHAUSTED", "message": message}})
    assert port.seen == [(MIB, "a")]


@pytest.mark.parametrize("path", ["/", "/app.js", "/metrics", "/nothing", "/../http.py"])
def test_every_answer_is_confined(port: Port, path: str) -> None:
    """Each answer, found or not, forbids whatever is not from this port; files outside the page are not there."""
    status, headers, _ = port.call("GET", path)

    assert status == (404 if path in ("/nothing", "/../http.py") else 200)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_the_wrong_method_is_refused(port: Port) -> None:
    """A picture is posted; nothing else changes anything."""
    assert port.call("GET", "/api/classify?model=a")[0] == 405
    assert port.call("POST", "/metrics")[0] == 405


def test_a_taken_port_is_named(port: Port) -> None:
    """A second server on the port says which port, and what to do."""
    with pytest.raises(ResServeError, match=rf"Port {port.port} on 127\.0\.0\.1 is in use.*--http-port"):
        listen("127.0.0.1", port.port)


def test_a_foreign_address_is_refused() -> None:
    """An address that is not this machine's gets a sentence."""
    with pytest.raises(ResServeError, match=r"Cannot listen on 192\.0\.2\.1 port 0: "):
        listen("192.0.2.1", 0)
