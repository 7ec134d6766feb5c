"""The container files, as far as a machine without a Docker engine can check them."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.digits import digit, held_out
from tests.support.service_process import environment, wait_until

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = pytest.mark.parametrize("name", COMPOSE["services"])


def _instructions() -> list[tuple[str, str, str]]:
    """Every instruction of the Dockerfile as (stage, instruction, argument)."""
    lines = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()).splitlines()
    stage, found = "", []
    for line in lines:
        if line and not line.startswith("#"):
            instruction, _, argument = line.partition(" ")
            stage = argument.rpartition(" AS ")[2] if instruction == "FROM" else stage
            found.append((stage, instruction, argument.strip()))
    return found


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile keeps to hadolint's rules, all of them."""
    done = subprocess.run([TOOLS / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_file_keeps_to_the_specification() -> None:
    """The compose file is valid by the Compose Specification's own schema."""
    command = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@SERVICES
def test_services_are_confined(name: str) -> None:
    """Each runs without root, capabilities and a writable root, on this machine's own address, and is watched."""
    service = COMPOSE["services"][name]
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [port for port in service["ports"] if not port.startswith("127.0.0.1:")] == []
    built = "build" in service and any(instruction == "HEALTHCHECK" for _, instruction, _ in _instructions())
    assert built or "healthcheck" in service


@SERVICES
def test_what_services_are_made_of_is_there(name: str) -> None:
    """Images are pinned to a release or built from a stage that exists; mounted files exist and are read-only."""
    service = COMPOSE["services"][name]
    if "build" in service:
        assert service["build"]["target"] in {stage for stage, _, _ in _instructions()}
    else:
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    for source, _, mode in (volume.split(":") + [""] * (2 - volume.count(":")) for volume in service["volumes"]):
        assert ((ROOT / source).exists() and mode == "ro") if source.startswith(".") else source in COMPOSE["volumes"]


def test_one_service_at_a_time() -> None:
    """The CPU service is what starts unless the gpu profile is asked for; both are `resserve` to Prometheus."""
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    assert profiles == {"resserve-cpu": ["cpu"], "resserve-gpu": ["gpu"], "prometheus": None, "grafana": None}
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text().splitlines()
    targets = yaml.safe_load((ROOT / "dashboards/prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert targets == [{"targets": ["resserve:8002"]}]
    for name in ("resserve-cpu", "resserve-gpu"):
        assert COMPOSE["services"][name]["networks"]["default"]["aliases"] == ["resserve"]
    devices = COMPOSE["services"]["resserve-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


def test_grafana_finds_its_boards() -> None:
    """The boards are provisioned from where they are mounted, the home board among them, with Prometheus as source."""
    grafana = COMPOSE["services"]["grafana"]
    mounted = {volume.split(":")[1]: ROOT / volume.split(":")[0] for volume in grafana["volumes"]}
    provisioning = mounted["/etc/grafana/provisioning"]
    boards = yaml.safe_load((provisioning / "dashboards/boards.yml").read_text())["providers"][0]["options"]["path"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"][0]

    assert len(list(mounted[boards].glob("*.json"))) == 2
    assert (mounted[str(home.parent)] / home.name).is_file()
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    assert "prometheus" in COMPOSE["services"]


@pytest.mark.slow
def test_the_dockerfile_s_commands_make_a_service(digits: Path, tmp_path: Path) -> None:
    """Its RUN commands, on what it copies, in a clean environment: no torch, and its ENTRYPOINT and CMD classify."""
    instructions = _instructions()
    source, prefix = tmp_path / "src", tmp_path / "opt/resserve"
    source.mkdir()
    for argument in (a for stage, i, a in instructions if (stage, i) == ("build", "COPY")):
        *names, _ = argument.split()
        for name in names:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*_pb2*")  # as .dockerignore has it
                shutil.copytree(ROOT / name, source / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, source)
    bare = {"HOME": str(tmp_path), "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.defpath}"}
    for command in (a for stage, i, a in instructions if i == "RUN" and stage in ("build", "build-cpu")):
        local = command.replace("/opt/resserve", str(prefix))
        subprocess.run(local, shell=True, cwd=source, env=bare, check=True, timeout=1200)

    packages = subprocess.run([prefix / "bin/pip", "list"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^onnxruntime ", packages, re.MULTILINE)
    assert not re.search(r"^(torch|torchvision|onnx|onnxscript|scikit-learn) ", packages, re.MULTILINE)
    # Nothing of the checkout is needed any more.
    shutil.rmtree(source)
    settings = {"RESSERVE_HOST": "127.0.0.1", "RESSERVE_REPOSITORY": str(digits)}
    assert _classifies(prefix, dict(_runtime()), settings | bare, tmp_path)


def _runtime() -> list[tuple[str, Any]]:
    """What the runtime stage says to run, and how to see whether it is well."""
    said = {instruction: argument for stage, instruction, argument in _instructions() if stage == "runtime"}
    health = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    return [("run", json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])), ("health", health)]


def _classifies(prefix: Path, runtime: dict[str, list[str]], settings: dict[str, str], folder: Path) -> bool:
    """Start the service, see it well by the image's own health check, and have it read a digit."""
    ready = folder / "ready.json"
    free = {"RESSERVE_PORT": "0", "RESSERVE_HTTP_PORT": "0", "RESSERVE_READY_FILE": str(ready)}
    program, *arguments = runtime["run"]
    process = psutil.Popen([prefix / "bin" / program, *arguments], env=environment(**settings, **free), cwd=folder)
    try:
        wait_until(ready.exists, "the service is ready")
        found = json.loads(ready.read_text())
        python, *check = runtime["health"]
        here = [part.replace("http://127.0.0.1:8002", found["http"]) for part in check]
        subprocess.run([prefix / "bin" / python, *here], check=True, timeout=60)
        maps = [Path(f"/proc/{p.pid}/maps").read_text() for p in (process, *process.children(recursive=True))]
        assert [text for text in maps if "libtorch" in text] == []
        with urllib.request.urlopen(f"{found['http']}/", timeout=30) as page:
            assert b"<title>ResServe</title>" in page.read()  # the page is in the wheel
        digit(held_out(7)).save(folder / "seven.png")
        command = [prefix / "bin" / program, "classify", "seven.png", "--target", found["grpc"]]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
        return "digit 7" in answer.stdout
    finally:
        process.terminate()
        process.wait(timeout=60)
