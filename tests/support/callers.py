"""Callers in a process of their own that check every answer."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support import checking_load
from tests.support.checking_load import Report
from tests.support.service_process import Server


class Callers:
    """A process of callers that check every answer."""

    def __init__(self, server: Server, repository: Path, *models: str, callers: int, deadline: float) -> None:
        named = [part for model in models for part in ("--model", model)]
        self.process = subprocess.Popen(
            [
                *(sys.executable, checking_load.__file__),
                *("--target", server.address, "--repository", str(repository), *named),
                *("--callers", str(callers), "--deadline", str(deadline)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the callers ended"

    def stop(self) -> Report:
        """Let them finish what they asked."""
        said, _ = self.process.communicate(timeout=180)
        return Report(**json.loads(said))

    def unharmed(self) -> None:
        """Let them finish: every answer was right and no call failed."""
        report = self.stop()
        assert (report.wrong, report.codes, report.right > 0) == (0, {}, True), report
