"""The container files as they are written; tests/containers runs them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
    assert "healthcheck" in service


def test_health_check_is_the_images_own() -> None:
    """The compose file repeats the image's health check, for engines that leave it out of the images they build."""
    (said,) = (argument for _, instruction, argument in _instructions() if instruction == "HEALTHCHECK")
    options, _, command = said.partition(" CMD ")
    flags = dict(option.removeprefix("--").replace("-", "_").split("=") for option in options.split())
    for name in ("resserve-cpu", "resserve-gpu"):
        assert COMPOSE["services"][name]["healthcheck"] == {"test": ["CMD", *json.loads(command)], **flags}


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
