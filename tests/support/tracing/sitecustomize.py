"""Records which files of the service run between two SIGUSR1, in any process that has this folder on its PYTHONPATH.

Python imports it by its name when it starts. The record goes to `$TRACE_TO/<pid>.json`: time, file and function of
every call.
"""

import dis
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

_RESUME = dis.opmap["RESUME"]
_MARK = f"{os.sep}service{os.sep}"
_calls: list[tuple[float, str, str]] = []
_recording = False


def _is_resumed(frame):
    """Whether a coroutine or generator goes on where it was, which a profiler sees as one more call."""
    return frame.f_lasti > frame.f_code.co_code.index(_RESUME)


def _profile(frame, event, _):
    if _recording and event == "call" and _MARK in frame.f_code.co_filename and not _is_resumed(frame):
        _calls.append((time.monotonic(), frame.f_code.co_filename.rpartition(_MARK)[2], frame.f_code.co_name))


def _toggle(*_):
    global _recording
    _recording = not _recording
    if not _recording:
        path = Path(os.environ["TRACE_TO"]) / f"{os.getpid()}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(_calls))
        temporary.replace(path)
        _calls.clear()


if "TRACE_TO" in os.environ:
    signal.signal(signal.SIGUSR1, _toggle)
    threading.setprofile(_profile)
    sys.setprofile(_profile)
