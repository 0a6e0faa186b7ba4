"""Files an operator deploys with: alerts that fire, metrics and commands that exist."""

import json
import re
import subprocess

import pytest
import yaml
from prometheus_client import REGISTRY
from typer.main import get_command

from busbar import metrics
from busbar.cli import app
from busbar.tools import project_root
from tests.requires import needs_program

DEPLOY = project_root() / "deploy"
OPERATIONS = (project_root() / "docs" / "operations.md").read_text(encoding="utf-8")
BUILT_IN = {"up", "time", "rate", "increase", "delta", "sum"}


@pytest.fixture
def promtool():
    return needs_program("promtool", apt="prometheus")


def rules():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    return json.loads((DEPLOY / "grafana" / "busbar.json").read_text(encoding="utf-8"))["panels"]


def exported():
    """Names of all samples a process may serve."""
    assert metrics.STEPS is not None
    names = set()
    for family in REGISTRY.collect():
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return {name for name in names if name.startswith("busbar_")}


def used(expression):
    return set(re.findall(r"busbar_\w+", expression))


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
    ids=["rules", "configuration", "alerts fire when they should"],
)
def test_promtool__what_is_shipped__is_accepted(promtool, arguments):
    done = subprocess.run(
        [promtool, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts__every_expression__asks_for_metrics_there_are():
    wanted = set().union(*(used(rule["expr"]) for rule in rules()))
    assert wanted - exported() == set()


def test_alerts__every_one__has_its_paragraph_in_the_operations_document():
    assert [rule["alert"] for rule in rules() if f"**{rule['alert']}.**" not in OPERATIONS] == []


def test_dashboard__every_metric__is_shown_and_exists():
    shown = set().union(*(used(target["expr"]) for panel in panels() for target in panel["targets"]))
    assert shown - exported() == set()
    assert exported() - shown == {"busbar_market_epoch", "busbar_steps_total"}


def test_dashboard__panels__do_not_overlap():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_compose_and_units__commands__are_busbars_own():
    commands = set(get_command(app).commands)
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {service["command"][0] for service in services.values()} <= commands
    started = [
        re.search(r"^ExecStart=/opt/busbar/.venv/bin/busbar (\S+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)[1]
        for unit in sorted((DEPLOY / "systemd").glob("*.service"))
    ]
    assert started == ["up", "%i"]
