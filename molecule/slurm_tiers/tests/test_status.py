# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the tiers, and the choice of a tier by task type, on a real cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.playbooks import Operator
from tests.scenarios.slurm import CONTROLLER, GATEWAY, TESTER, Slurm, until


def status(slurm: Slurm) -> dict[str, Any]:
    """Return the gateway's status as a host outside the cluster reads it, without a key."""
    answer = slurm.ask(f"{GATEWAY['fast']}/status.json", "", host="mirror")
    assert answer.status == 200
    return {tier["name"]: tier for tier in answer.json()["tiers"]}


def test_status_page_needs_no_key(serving: Slurm) -> None:
    until("both tiers to be ready in the status", lambda: all(tier["ready"] for tier in status(serving).values()), 30)
    page = serving.ask(f"{GATEWAY['reasoning']}/status", "", host="mirror")
    assert page.status == 200
    assert "All tiers answer." in page.text
    # The example uses the gateway's address from this request.
    assert "http://10.0.0.5:8081/v1/chat/completions" in page.text


def test_registry_has_load_and_speed_of_the_reasoning_tier(serving: Slurm) -> None:
    serving.wait_ready("reasoning")
    assert serving.chat_at("reasoning", tokens=64).status == 200
    load = until("the load in the registry", lambda: (serving.ready("reasoning") or {}).get("load"), 30)
    assert 0 <= load["processing"] <= 2
    entry = until(
        "the speed in the registry", lambda: (serving.ready("reasoning") or {}).get("load", {}).get("tokens_per_s"), 30
    )
    assert 0 < entry < 10_000


def test_command_and_gateway_choose_the_same_tier_for_a_task_type(serving: Slurm) -> None:
    # An unprivileged user may run the command.
    said = serving.sure(CONTROLLER, "llama-model-selector fix --json", "nobody")
    assert json.loads(said)["tier"] == "fast"
    assert serving.sure(CONTROLLER, "llama-model-selector borrowing --model", "nobody") == "lab-llama\n"
    body = {"model": "task:fix", "max_tokens": 2, "messages": [{"role": "user", "content": "Say hello."}]}
    # The request goes to the other tier's port. The task type overrides the port.
    before = status(serving)["fast"]["measured"]["requests"]
    answer = serving.ask(f"{GATEWAY['reasoning']}/v1/chat/completions", TESTER, body, host="mirror")
    assert answer.status == 200, answer.text
    until("the request in the fast tier's count", lambda: status(serving)["fast"]["measured"]["requests"] > before, 10)


@pytest.fixture(name="operator")
def _operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path, "inventory/lab_slurm")


def test_status_playbook_shows_tiers_and_their_jobs(serving: Slurm, operator: Operator, tmp_path: Path) -> None:
    jobs = {tier: serving.wait_ready(tier)["job_id"] for tier in ("fast", "reasoning")}
    shown = operator.play("playbooks/status.yml")
    assert shown.calm
    written = tmp_path / "status.json"
    assert operator.play("playbooks/status.yml", "-e", f"status_file={written}").rc == 0
    tiers = json.loads(written.read_text(encoding="utf-8"))["tiers"]["tiers"]
    for tier, job in jobs.items():
        assert [line for line in shown.output.splitlines() if line.split()[:3] == [tier, "ready", job]], shown.output
        assert (tiers[tier]["state"], tiers[tier]["job_id"]) == ("ready", job)


def test_status_playbook_reports_an_unreachable_controller(operator: Operator) -> None:
    # No host has this address.
    shown = operator.play("playbooks/status.yml", "-e", "ansible_host=10.0.0.99")
    assert shown.rc == 0
    assert "The tier manager does not answer: " in shown.output
