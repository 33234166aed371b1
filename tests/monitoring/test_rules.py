# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""promtool accepts all rules and all queries of the dashboards, and each alert fires in a test of its own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "monitoring" / "files"
RULES = sorted((ROLE / "rules").glob("*.yml"))
TESTS = sorted((Path(__file__).parent / "rules").glob("*.yml"))
FIRES = re.compile(r'alertname="(\w+)"')


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def alerts() -> set[str]:
    groups = [group for path in RULES for group in read(path)["groups"]]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_promtool_accepts_the_rules() -> None:
    assert promtool("check", "rules", *RULES).count("SUCCESS") == len(RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.stem))
def test_alerts_fire_and_stay_quiet_as_stated(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_each_alert_fires_in_a_test() -> None:
    checks = [check for path in TESTS for test in read(path)["tests"] for check in test["promql_expr_test"]]
    samples = [sample["labels"] for check in checks for sample in check["exp_samples"]]
    assert {name for labels in samples for name in FIRES.findall(labels)} == alerts()


def test_promtool_accepts_every_query_of_the_dashboards(tmp_path: Path) -> None:
    queries = [
        target["expr"]
        for path in (ROLE / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(queries) > 60
    found = [{"record": f"query:n{number}", "expr": query} for number, query in enumerate(queries)]
    rules = tmp_path / "queries.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": found}]}), encoding="utf-8")
    assert f"{len(queries)} rules found" in promtool("check", "rules", rules)
