# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of decisions: only what was measured is on it, and it stays as long as the head is the same."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import server_log
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import decision_log

ROOT = Path(__file__).parents[4]
ARGUMENTS = [
    "/opt/llama.cpp/releases/0c1e57098-cpu-1a2b3c4d/bin/llama-server",
    *("--model", "/opt/models/lab-llama.gguf", "--alias", "lab-llama", "--ctx-size", "2048"),
]
# As herdctl query --json prints it.
ANSWER: dict[str, Any] = {
    "text": "x",
    "first_piece_s": 0.123,
    "seconds": 1.6,
    "pieces": 64,
    "pieces_per_second": 41.5,
}
RECORDS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}


@pytest.fixture(name="figures")
def of_the_lab() -> decision_log.HeadMeasurements:
    log = (ROOT / "tests/fixtures/head_log/0c1e57098-two-workers.log").read_text(encoding="utf-8")
    devices = server_log.parse(log).devices
    return decision_log.measured(ARGUMENTS, "0c1e57098-cpu-1a2b3c4d", devices, ANSWER, "2026-11-21 10:02 UTC")


def test_the_page_shows_the_measurements(figures: decision_log.HeadMeasurements) -> None:
    page = decision_log.page(RECORDS, figures, {})
    assert "| model | lab-llama |" in page
    assert "| context, tokens | 2048 |" in page
    assert "| tokens after that | 41.5 per second |" in page
    assert "| first token of an answer of 64 | 0.12 s |" in page
    share = figures.devices[0]
    assert f"| RPC0 | {share['endpoint']} | {share['layers']} | {share['model_mib']:.1f} |" in page


def test_the_page_shows_only_measured_figures() -> None:
    page = decision_log.page(RECORDS, None, {})
    assert "None yet: no head has answered on this host." in page
    assert "per second |" not in page


def test_figures_are_kept_for_the_same_command_line(
    figures: decision_log.HeadMeasurements,
) -> None:
    data = json.loads(json.dumps(asdict(figures)))
    assert decision_log.stored(data, decision_log.command_line_key(ARGUMENTS)) == figures
    assert decision_log.stored(data, decision_log.command_line_key([*ARGUMENTS, "--parallel", "2"])) is None


def test_a_head_that_is_down_keeps_its_figures(figures: decision_log.HeadMeasurements) -> None:
    assert decision_log.stored(asdict(figures), decision_log.command_line_key([])) == figures


@pytest.mark.parametrize("data", [{}, {"key": "k"}, {"key": "k", "other": 1}])
def test_damaged_figures_are_measured_again(data: dict[str, Any]) -> None:
    assert decision_log.stored(data, "k") is None


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ({"seconds": 9.01}, [("seconds", "9.01")]),
        ({"fetch": {"mb_per_second": 477, "of": None}}, [("fetch.mb_per_second", "477")]),
        ({"seconds": [12.95, 8.56]}, [("seconds", "12.95, 8.56")]),
        ({"runs": [{"s": 1}, {"s": 2}]}, [("runs[0].s", "1"), ("runs[1].s", "2")]),
        ({}, []),
    ],
)
def test_every_figure_of_a_result_file_is_a_row(value: Any, rows: list[tuple[str, str]]) -> None:
    assert list(decision_log.rows_of(value)) == rows


def test_a_long_result_file_is_truncated_with_a_note() -> None:
    page = decision_log.page(RECORDS, None, {"bench.json": {str(number): number for number in range(203)}})
    assert "### bench.json" in page
    assert "The file contains 3 more." in page


def test_the_page_has_all_records_and_valid_links(figures: decision_log.HeadMeasurements) -> None:
    page = decision_log.page({**RECORDS, "0099-x.md": "# X\n\nSee [1](0001-quantisation-on-volta.md)."}, figures, {})
    anchors = set(re.findall(r'<a id="(\d+)"></a>', page))
    assert anchors == {name[:4] for name in RECORDS} | {"0099"}
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert "#0001" in links
    assert {link for link in links if not link.startswith(("#", "http"))} == set()
    assert {link[1:] for link in links if link.startswith("#")} <= anchors


def test_a_page_without_records_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="There are no records of decisions"):
        decision_log.page({}, None, {})
