# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on recovery is generated from its measurements."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios import recovery_page

ROW = {
    "what": "a worker is killed",
    "noticed": 0.84,
    "served": 5.25,
    "served_after_return": -1.0,
    "failed": 1,
    "refused": 7,
    "load": 2.0,
    "hand": "none",
}
LOSS = {
    "what": "engine core is killed, generating",
    "noticed": 2.94,
    "ended": 7.0,
    "told": 1.25,
    "served": 99.5,
    "failed": 1,
    "reason": "rank 0 on vasp-01: VLLM::EngineCore has ended without being asked",
}
BUSY = {
    "minutes": 30.0,
    "phases": [{"what": "3 clients", "answered": 7, "hung_up": 2, "failed": 0, "longest_s": 1.5}],
    "said": {"vllm-node1": []},
}


def test_committed_page_is_that_of_the_last_record() -> None:
    facts = recovery_page.read_facts()
    assert facts.keys() <= {"chaos", "busy", "vllm"}
    assert recovery_page.PAGE.read_text(encoding="utf-8") == recovery_page.render(facts)


def test_record_replaces_only_its_own_part(tmp_path: Path) -> None:
    facts, page = tmp_path / "recovery.json", tmp_path / "recovery.md"
    recovery_page.write_facts("chaos", [ROW], facts, page)
    assert "| a worker is killed | 0.8 | 5.2 | - | 1 (and 7 refused) | 2.0 | none |" in page.read_text(encoding="utf-8")
    recovery_page.write_facts("busy", BUSY, facts, page)
    text = page.read_text(encoding="utf-8")
    assert "| a worker is killed |" in text
    assert "| 3 clients | 7 | 2 | 0 | 1.5 |" in text
    assert "Their log in that time: nothing." in text


def test_page_shows_log_lines_of_a_run_without_failures() -> None:
    said = {"vllm-node1": ["vllm-node2 has not answered for 6 seconds"], "vllm-node2": []}
    text = recovery_page.render({"busy": {**BUSY, "said": said}})
    assert "in that time: vllm-node1: vllm-node2 has not answered for 6 seconds." in text


def test_page_shows_the_losses_of_a_vllm_job() -> None:
    text = recovery_page.render({"vllm": {"version": "0.32.0", "pause_s": 10, "rows": [LOSS]}})
    assert "vLLM 0.32.0" in text
    assert "Slurm waits for 10 s" in text
    assert f"| engine core is killed, generating | 2.9 | 7.0 | 1.2 | 99.5 | 1 | {LOSS['reason']} |" in text
