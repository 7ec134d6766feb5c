"""Counters that alerts use, as a service shows them before anything has happened."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.errors import codes, reasons
from tests.support.prometheus import DASHBOARDS
from tests.support.service_process import Server

RULES: list[dict[str, Any]] = [
    rule
    for name in ("recording", "alerts")
    for group in yaml.safe_load((DASHBOARDS / f"rules/{name}.yml").read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = [(rule["record"], rule["expr"]) for rule in RULES if "record" in rule]
SELECTOR = re.compile(r"\b((?:\w+:)?(?:resserve|grpc_server)_\w+(?::\w+)?)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
DOCUMENT = Path(__file__).parents[2] / "docs" / "dashboards.md"
METHODS = {
    "resserve.v1.Classifier": {"Classify", "ClassifyStream", "ListModels"},
    "grpc.health.v1.Health": {"Check", "Watch"},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo"},
}


def _selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Name and matchers of each scraped series of an expression, through whatever was recorded from it."""
    for name, matchers in SELECTOR.findall(expression):
        recorded = [source for record, source in RECORDED if record == name]
        for source in recorded:
            yield from _selectors(source)
        if not recorded:
            yield name, matchers


class Fresh:
    """What a service shows that has been asked for nothing."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in families for sample in family.samples]
        self.types = {sample.name: family.type for family in families for sample in family.samples}

    @cached_property
    def models(self) -> set[str]:
        return {sample.labels["model"] for sample in self.samples if sample.name == "resserve_model_info"}

    def values(self, name: str, label: str) -> set[str]:
        """Of a label."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}

    def selected(self, name: str, matchers: str) -> list[float]:
        """Values of the series that a selector selects, as Prometheus does."""
        return [
            sample.value
            for sample in self.samples
            if sample.name == name
            and all(_matches(sample.labels.get(label, ""), *how) for label, *how in MATCHER.findall(matchers))
        ]


def _matches(value: str, operator: str, wanted: str) -> bool:
    found = bool(re.fullmatch(wanted if "~" in operator else re.escape(wanted), value))
    return found != operator.startswith("!")


def _alternatives(matchers: str) -> Iterator[str]:
    """The matchers anew for each value that a regular expression such as "A|B" allows."""
    for label, operator, wanted in MATCHER.findall(matchers):
        if operator == "=~":
            others = matchers.replace(f'{label}=~"{wanted}"', "")
            for value in wanted.split("|"):
                yield from _alternatives(f'{label}="{value}",{others}')
            return
    yield matchers


@pytest.fixture(scope="module")
def fresh(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    server = Server(repository, tmp_path_factory.mktemp("fresh"), "--frontends", "2")
    try:
        yield Fresh(server.get("/metrics")[1])
    finally:
        server.close()


@pytest.mark.parametrize("rule", [pytest.param(r, id=r.get("alert") or r["record"]) for r in RULES])
def test_counters_of_a_rule_exist_at_zero(fresh: Fresh, rule: dict[str, Any]) -> None:
    """Each counter that a rule selects is there before its first event, under each value that the rule names."""
    for name, matchers in _selectors(rule["expr"]):
        assert name in fresh.types, f"{name} is not exposed"
        if fresh.types[name] == "gauge":
            continue
        for alternative in _alternatives(matchers):
            found = fresh.selected(name, re.sub(r'architecture="vgg\w+"', "", alternative))
            assert found and set(found) == {0.0}, f"{name}{{{alternative}}}"


def test_each_value_that_is_known_ahead_is_there(fresh: Fresh) -> None:
    """Of each model every reason and every code; of each of our methods every gRPC code; and nothing else."""

    def pairs(name: str, label: str) -> set[tuple[str, str]]:
        return {(sample.labels["model"], sample.labels[label]) for sample in fresh.samples if sample.name == name}

    assert fresh.models == {"alpha", "beta"}
    assert pairs("resserve_rejected_total", "reason") == {(m, r) for m in {"", *fresh.models} for r in reasons()}
    restarts = {(model, reason) for model in fresh.models for reason in ("crash", "hang")}
    assert pairs("resserve_worker_restarts_total", "reason") == restarts
    ends = {"OK"} | codes() - {"NOT_FOUND"}  # which no request of a model can get: it has found it
    assert pairs("resserve_request_seconds_count", "code") == {(m, code) for m in fresh.models for code in ends}
    handled = {
        (sample.labels["grpc_service"], sample.labels["grpc_method"], sample.labels["grpc_code"])
        for sample in fresh.samples
        if sample.name == "grpc_server_handled_total"
    }
    ours = {(service, method) for service, methods in METHODS.items() for method in methods}
    assert {call[:2] for call in handled} - {("grpc.health.v1.Health", "List")} == ours
    assert handled >= {(*call, code.name) for call in ours for code in grpc.StatusCode}


def test_the_number_of_series_is_the_documented_one(fresh: Fresh) -> None:
    """docs/dashboards.md says how many series there are for a model, and how many in all besides."""
    own = [s for s in fresh.samples if s.labels.get("model") == "alpha"]
    besides = [s for s in fresh.samples if not s.labels.get("model") and s.name.startswith(("resserve", "grpc"))]
    counted = f"{len(own)} series for each model version, and {len(besides)} besides"

    assert counted in " ".join(DOCUMENT.read_text().split())
