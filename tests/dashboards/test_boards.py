"""Every query of every panel and rule, run by a real Prometheus on a real service under load."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.prometheus import DASHBOARDS, Prometheus

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((DASHBOARDS / "grafana/boards").glob("*.json"))}
RULES = [
    rule
    for name in ("recording", "alerts")
    for group in yaml.safe_load((DASHBOARDS / f"rules/{name}.yml").read_text())["groups"]
    for rule in group["rules"]
]
NEEDS_GPU = re.compile(r"resserve_gpu_|cuda")
METRIC = re.compile(r"\b(?:\w+:)?(?:resserve|grpc_server)\w*(?::\w+)?\b|\bup\b")


def _queries() -> Iterator[Any]:
    for board, content in BOARDS.items():
        for panel in content["panels"]:
            for target in panel.get("targets", []):
                yield pytest.param(target["expr"], id=f"{board}: {panel['title']} {target['refId']}")


def _filled_in(query: str) -> str:
    """As Grafana sends it with every variable at All, and a panel that is repeated drawn for one architecture."""
    query = query.replace('="$architecture"', '="resnet20"').replace("$__rate_interval", "10s")
    return re.sub(r"\$(architecture|precision|device)\b", ".+", query)


def _skip_without_gpu(query: str, prometheus: Prometheus) -> None:
    if NEEDS_GPU.search(query) and not prometheus.values("resserve_gpu_memory_used_bytes"):
        pytest.skip("needs an NVIDIA GPU")


@pytest.mark.parametrize("query", list(_queries()))
def test_every_panel_has_data(prometheus: Prometheus, query: str) -> None:
    """Each query of each panel gives numbers."""
    _skip_without_gpu(query, prometheus)
    filled = _filled_in(query)
    assert "$" not in filled
    assert prometheus.values(filled) != []


@pytest.mark.parametrize("rule", [pytest.param(r, id=r["record"]) for r in RULES if "record" in r])
def test_every_recording_rule_has_data(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    """Each recorded series has numbers, with the labels that the rule gives them."""
    labels = ", ".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
    assert prometheus.values(f"{rule['record']}{{{labels}}}") != []


@pytest.mark.parametrize("rule", [pytest.param(r, id=r["alert"]) for r in RULES if "alert" in r])
def test_every_alert_looks_at_series_that_exist(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    """No alert is silent because a name is wrong: every series that it names has samples."""
    _skip_without_gpu(rule["expr"], prometheus)
    names = METRIC.findall(re.sub(r'"[^"]*"', "", rule["expr"]))
    assert names
    assert [name for name in names if not prometheus.values(f"count({name})")] == []


def test_prometheus_accepts_what_it_evaluates(prometheus: Prometheus) -> None:
    """No rule fails to evaluate, and both targets are scraped."""
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RULES)
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [target["health"] for target in prometheus.ask("targets")["activeTargets"]] == ["up", "up"]


def test_a_replaced_worker_fires_its_alert(prometheus: Prometheus) -> None:
    """The worker that was killed is told of, by model."""
    fired = prometheus.ask("query", query='ALERTS{alertname="ResServeWorkerRestarts", alertstate="firing"}')["result"]
    assert {sample["metric"]["model"] for sample in fired} == {"digits"}


def test_the_ratio_is_the_one_of_the_quantiles(prometheus: Prometheus) -> None:
    """The recorded ratio is the architecture's quantile by VGG-16's, and 1 for VGG-16 itself."""
    name = "architecture:resserve_request_seconds:quantile1m"
    rule = prometheus.values(f'{name}_vgg16_ratio{{architecture="vgg16_bn"}}')
    assert rule == [1.0] * 3
    query = f'{name}_vgg16_ratio{{architecture="resnet20", quantile="0.5"}}'
    quantile = '{name}{{architecture="{architecture}", quantile="0.5"}}'
    by_hand = " / on () ".join(quantile.format(name=name, architecture=a) for a in ("resnet20", "vgg16_bn"))
    # In one query, so that no evaluation comes between.
    assert prometheus.values(f"abs({query} - on () ({by_hand}))") == pytest.approx([0], abs=1e-9)


@pytest.mark.parametrize("board", BOARDS)
def test_boards_are_whole(board: str) -> None:
    """Ids are unique, every panel is explained, its data source is chosen on the board, and links lead to boards."""
    content = BOARDS[board]
    panels = [panel for panel in content["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in content["panels"]]
    assert len(ids) == len(set(ids))
    assert [panel["title"] for panel in panels if not panel["description"].endswith(".")] == []
    targets = [target for panel in panels for target in panel.get("targets", [])]
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}
    uids = {other["uid"] for other in BOARDS.values()}
    assert {link["url"].removeprefix("/d/") for link in content["links"]} <= uids


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs Debian's prometheus, which is not installed")
@pytest.mark.parametrize("check", ["check config prometheus.yml", "test rules rules/tests.yml"])
def test_promtool_agrees(check: str) -> None:
    """The configuration and the rules are valid, and the rules' own tests pass."""
    done = subprocess.run(["promtool", *check.split()], cwd=DASHBOARDS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    """Each alert has a case in rules/tests.yml in which it fires."""
    tests = yaml.safe_load((DASHBOARDS / "rules/tests.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES if "alert" in rule}
