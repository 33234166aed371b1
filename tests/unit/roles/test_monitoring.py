# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules and dashboards read metrics that exist, and each alert links a runbook that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names
from tools import dashboard_panels, dashboards

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "roles" / "monitoring"
RULES = sorted((ROLE / "files" / "rules").glob("*.yml"))
VARIABLES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
#: What both engines write at /metrics, as far as it does not lie: the engine empties its own rates with each scrape.
ENGINES = {
    "llamacpp:prompt_tokens_total", "llamacpp:prompt_seconds_total", "llamacpp:prompt_tokens_cached_total",
    "llamacpp:tokens_predicted_total", "llamacpp:tokens_predicted_seconds_total", "llamacpp:n_decode_total",
    "llamacpp:requests_processing", "llamacpp:requests_deferred",
    "llamacpp:spec_decode_num_draft_tokens_total", "llamacpp:spec_decode_num_accepted_tokens_total",
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total", "vllm:kv_cache_usage_perc",
}  # fmt: skip
NAME = re.compile(r"\b(?:llamacpp|vllm|herd|host|tier):[\w:]+|\bherd_\w+|\bup\b|\bALERTS\b")
PARTS = re.compile(r"_(bucket|sum|count)$")


def rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = {rule["record"] for rule in rules() if "record" in rule}


def known() -> set[str]:
    limits = re.findall(r"'(\w+)': ", VARIABLES["_monitoring_limits"])
    assert limits
    return {*metric_names.METRICS, *ENGINES, *RECORDS, *(f"herd:limit:{name}" for name in limits), "up", "ALERTS"}


def used(expression: str) -> set[str]:
    """Return the names of metrics in a query. Histograms have series with endings."""
    names = set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
    histograms = {name for name, metric in metric_names.METRICS.items() if metric.kind == metric_names.HISTOGRAM}
    return {PARTS.sub("", name) if PARTS.sub("", name) in histograms else name for name in names}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((ROLE / "files" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] != "row":
                yield path.stem, panel


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_rule_reads_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert used(rule["expr"])
    assert used(rule["expr"]) - known() == set()


def test_panel_reads_metrics_that_exist() -> None:
    found = {name for _board, panel in panels() for target in panel["targets"] for name in used(target["expr"])}
    assert len(found) > 40
    assert found - known() == set()


def test_metric_that_does_not_exist_is_found() -> None:
    assert used('rate(herd_made_up_total{host="herd_node_held"}[5m])') - known() == {"herd_made_up_total"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_alert_links_a_runbook_that_exists(rule: dict[str, Any]) -> None:
    base, _slash, page = rule["annotations"]["runbook_url"].partition("/docs/operations/")
    assert f"{base}/docs/operations" == VARIABLES["_monitoring_default_runbooks"]
    assert (ROOT / "docs" / "operations" / page).is_file()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_alert_says_what_it_is(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Herd")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_names_of_alerts_and_records_are_unique() -> None:
    names = [rule.get("alert") or rule["record"] for rule in rules()]
    assert len(names) == len(set(names))


def test_each_alert_is_on_the_page() -> None:
    page = (ROOT / "docs" / "reference" / "monitoring.md").read_text(encoding="utf-8")
    for rule in ALERTS:
        target = rule["annotations"]["runbook_url"].partition("/docs/operations/")[2]
        begin = rf"^\| `{rule['alert']}` \| {rule['labels']['severity']} \| "
        row = rf"{begin}[^|]+ \| \[[^\]]+\]\(../operations/{target}\) \|$"
        assert re.search(row, page, re.MULTILINE), rule["alert"]


def test_role_installs_every_file_of_rules_and_every_dashboard() -> None:
    assert sorted(VARIABLES["_monitoring_rule_files"]) == [path.name for path in RULES]
    assert sorted(VARIABLES["_monitoring_dashboards"]) == sorted({board for board, _panel in panels()})


@pytest.mark.parametrize("board", dashboard_panels.DASHBOARDS, ids=lambda board: str(board.name))
def test_committed_dashboard_is_what_the_generator_writes(board: dashboard_panels.Board) -> None:
    committed = (ROLE / "files" / "dashboards" / f"{board.name}.json").read_text(encoding="utf-8")
    assert committed == dashboards.text(board), "run make dashboards"


def test_panels_of_a_dashboard_have_numbers_and_queries_of_their_own() -> None:
    for path in (ROLE / "files" / "dashboards").glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))["panels"]
        assert len({panel["id"] for panel in found}) == len(found)
        for panel in found:
            queries = [target["refId"] for target in panel.get("targets", [])]
            assert len(queries) == len(set(queries))
            assert all(queries)
