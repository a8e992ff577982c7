"""The example alerts and dashboard use metrics and labels that exist, and every alert is explained and tried."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service import metrics
from service.metric_families import WORKER, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "examples" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "timewarden.rules.yml").read_text(encoding="utf-8"))["groups"][
    0
]["rules"]
TRIALS = yaml.safe_load((FOLDER / "timewarden.rules.test.yml").read_text(encoding="utf-8"))["tests"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
RUNBOOK = (ROOT / "docs" / "runbook" / "alerts.md").read_text(encoding="utf-8")
# Metrics that Prometheus adds.
OF_PROMETHEUS = {"up", "ALERTS"}
TARGET_LABELS = {"job", "instance", "le", WORKER}


def every_expression() -> Iterator[str]:
    """The PromQL of all alerts and panels."""
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ()))


def labels_by_series() -> dict[str, set[str]]:
    """The names of all series that a process can have, with their labels."""
    found: dict[str, set[str]] = {}
    for family in metrics.FAMILIES:
        endings = ("_bucket", "_sum", "_count") if isinstance(family, Histogram) else ("",)
        found |= {f"{family.name}{ending}": set(family.labels) for ending in endings}
    return found


def test_alerts_and_panels_use_only_metrics_and_labels_that_exist() -> None:
    known = labels_by_series()
    for expression in every_expression():
        names = set(re.findall(r"\b((?:timewarden|http|db|process)_\w+)(?=[\[{) ]|$)", expression))
        labels = {label for label in names if any(label in labels for labels in known.values())}
        series = names - labels
        assert series or any(name in expression for name in OF_PROMETHEUS), expression
        assert series <= known.keys(), expression
        allowed = TARGET_LABELS.union(*(known[name] for name in series))
        used = {name for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in re.split(r",\s*", names)}
        used |= set(re.findall(r"[{,](\w+)=", expression))
        assert used - allowed <= {"alertname", "alertstate"}, expression


def test_every_metric_of_the_service_is_shown_or_raises_an_alert() -> None:
    text = " ".join(every_expression())
    # Another number says the same, or these are looked up when it is bad.
    left_out = {
        "timewarden_admission_working",
        "timewarden_archived_records",
        "timewarden_checkpoint_age_seconds",
        "timewarden_checkpoint_size_records",
        "timewarden_event_stream_position",
        "timewarden_issuer_keys",
        "timewarden_issuer_unknown_keys_total",
        "timewarden_log_waiting_records",
        "timewarden_witness_size_records",
    }
    unused = {
        family.name for family in metrics.FAMILIES if not re.search(rf"\b{family.name}(_bucket|_sum|_count)?\b", text)
    }
    assert unused == left_out


def test_every_alert_has_a_section_of_the_runbook_with_its_severity_and_is_tried() -> None:
    sections = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert list(sections) == [rule["alert"] for rule in RULES]
    for rule in RULES:
        section = sections[rule["alert"]]
        assert section.startswith(f"{rule['labels']['severity']}. ")
        assert "- **See**: " in section
        assert "- **Do**: " in section
        assert rule["annotations"]["runbook"] == f"docs/runbook/alerts.md#{rule['alert'].lower()}"
    *raised, well = TRIALS
    assert [trial["name"] for trial in raised] == list(sections)
    assert [expected["alertname"] for expected in well["alert_rule_test"]] == list(sections)


def test_every_file_and_section_that_the_runbook_links_exists() -> None:
    headings = {f"#{name.lower()}" for name in re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)}
    links = re.findall(r"\]\(([^)]+)\)", RUNBOOK)
    assert [link for link in links if link.startswith("#") and link not in headings] == []
    files = [link.partition("#")[0] for link in links if link[0] != "#"]
    assert [file for file in files if not (ROOT / "docs" / "runbook" / file).exists()] == []


def test_panels_have_ids_titles_and_descriptions_of_their_own() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)
    named = set(re.findall(r"the panels? \*([^*]+)\*(?: and \*([^*]+)\*)?", " ".join(RUNBOOK.split())))
    assert {title for titles in named for title in titles if title} <= {panel["title"] for panel in panels}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install promtool)"
)
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "timewarden.rules.test.yml")],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_accepts_the_configuration_and_every_alert_is_raised_as_it_should(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
