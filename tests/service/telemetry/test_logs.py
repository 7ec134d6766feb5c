"""Log lines of libraries, in the form of the service's own."""

import json
import subprocess
import sys

PROGRAM = """
import asyncio, json, logging, socket, sys, warnings
from service.telemetry import logs
from tests.support.http_port import Port

logs.configure("info", "json", "supervisor")
port = Port()
try:
    print(json.loads(port.call("POST", "/api/classify?model=broken", b"x")[2])["error"]["message"].split()[-1])
    with socket.create_connection(("127.0.0.1", port.port)) as connection:
        connection.sendall(b"no HTTP\\r\\n\\r\\n")
        while connection.recv(4096):
            pass
finally:
    port.close()
loop = asyncio.new_event_loop()
loop.call_soon(lambda: 1 / 0)
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
warnings.warn("two\\nlines", stacklevel=1)
logging.getLogger("uvicorn.error").info("news to nobody")
"""


def test_what_libraries_log_is_json_too() -> None:
    """A handler that raises, an invalid request, a callback that raises, a warning: each is one JSON line of ours."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert all(line["process"] == "supervisor" and line["pid"] and line["timestamp"] for line in lines)
    failed, invalid, raised, warned = lines
    assert (failed["event"], failed["level"], failed["path"]) == ("http request failed", "error", "/api/classify")
    assert f"{failed['id']}." == done.stdout.strip() and "a mistake of ours" in failed["exception"]
    assert (invalid["logger"], invalid["event"]) == ("uvicorn.error", "Invalid HTTP request received.")
    assert (raised["logger"], raised["level"]) == ("asyncio", "error") and "ZeroDivisionError" in raised["exception"]
    assert warned["logger"] == "py.warnings" and "two\nlines" in warned["event"]
