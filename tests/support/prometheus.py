"""A real Prometheus, and load for it to see."""

import json
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from resserve.client import Client
from resserve.errors import ResServeError

DASHBOARDS = Path(__file__).parents[2] / "dashboards"


class Prometheus:
    """A Prometheus of its own, with the product's configuration but for addresses and the pace, which is a second."""

    def __init__(self, folder: Path, target: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        config = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(DASHBOARDS / file) for file in config["rule_files"]]
        addresses = {"resserve": target, "prometheus": self.address}
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = (folder / "prometheus.log").open("wb")
        options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
        flags = [f"--{name}={value}" for name, value in (options | {"web.listen-address": self.address}).items()]
        self.process = subprocess.Popen(["prometheus", *flags], stdout=self.log, stderr=self.log)

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=30) as response:
            return json.load(response)["data"]

    def values(self, query: str) -> list[float]:
        """The samples of an instant query that are numbers."""
        values = [float(sample["value"][1]) for sample in self.ask("query", query=query)["result"]]
        return [value for value in values if value == value]

    def answers(self) -> bool:
        """Whether it is up and has scraped."""
        with suppress(OSError):
            return bool(self.values("up"))
        return False

    def has_evaluated(self, since: datetime) -> bool:
        """Whether every group of rules has been evaluated since: each has a phase of its own."""
        groups = self.ask("rules")["groups"]
        return all(datetime.fromisoformat(group["lastEvaluation"]) > since for group in groups)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()


class Load:
    """Callers of both models and of one that there is not, with good and bad pictures, until it is stopped."""

    def __init__(self, address: str, picture: Path) -> None:
        self._address, self._picture = address, picture
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(model,)) for model in ("digits", "vgg16_bn", "digits", "nothing")
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, model: str) -> None:
        with Client(self._address) as client:
            while not self._stop.wait(0.02):
                # Refusals and what is lost with a worker are part of it.
                with suppress(ResServeError):
                    client.classify(self._picture, model=model)
                with suppress(ResServeError):
                    client.classify(b"not a picture", model=model)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
