# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a tier in the inventory while its job runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenarios.kept_tiers import Kept
from tests.scenarios.playbooks import Operator, changed_tiers
from tests.scenarios.slurm import CONTROLLER, until

TIERS = "molecule/slurm_preemption/inventory/group_vars/all.yml"
PLAY = ("playbooks/slurm.yml", "--tags", "slurm_tiers", "--limit", CONTROLLER)


@pytest.fixture
def operator(ready: Kept, tmp_path: Path) -> Iterator[Operator]:
    found = Operator(tmp_path, "inventory/lab_slurm", "molecule/slurm_preemption/inventory")
    yield found
    assert found.play(*PLAY).rc == 0
    until("the tiers to match the inventory", lambda: "outdated" not in json.dumps(ready.view()["tiers"]), 240, 2.0)


def limit(cluster: Kept, job: str) -> str:
    return cluster.sure(CONTROLLER, f"squeue -h -j {job} -O MinMemory").strip()


def test_changed_tier_gets_a_new_job_in_an_idle_window(ready: Kept, operator: Operator, tmp_path: Path) -> None:
    entry = ready.tier("fast")["endpoints"][0]
    job = entry["job_id"]
    run = operator.play(*PLAY, "-e", changed_tiers(tmp_path, of=TIERS, memory="3G"))
    assert run.rc == 0, run.output
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(ready.chat, entry, 200, stream=True)
        until("the advice", lambda: f"job {job} is outdated" in ready.tier("fast")["advice"], 30)
        found = answer.result()
    assert found.status == 200
    assert found.text.rstrip().endswith("data: [DONE]")

    def is_new() -> bool:
        tier = ready.tier("fast")
        return tier["state"] == "ready" and tier["job_id"] != job

    until("a new job", is_new, 180)
    assert "the tier has changed, and no request runs" in ready.log(job)
    assert limit(ready, ready.tier("fast")["job_id"]) == "3G"
    assert "outdated" not in ready.tier("fast")["advice"]


def test_requeued_outdated_job_runs_with_its_own_data(ready: Kept, operator: Operator, tmp_path: Path) -> None:
    """Without a manager nothing replaces the job. It keeps its limits and its specification."""
    job = ready.tier("fast")["job_id"]
    try:
        run = operator.play(
            *PLAY, "-e", changed_tiers(tmp_path, of=TIERS, memory="3G", settings={"context": 1024, "threads": 2})
        )
        assert run.rc == 0, run.output
        ready.sure(CONTROLLER, "systemctl stop herd-tiers.service")
        if job in {one[0] for one in ready.jobs()}:
            ready.sure(CONTROLLER, f"scontrol requeue {job}")
            until("the job to be pending", lambda: [one for one in ready.jobs() if one[:2] == (job, "PENDING")], 60)
            ready.hurry(job)
            assert ready.wait_ready("fast", 120)["context"] == 2048
    finally:
        ready.sure(CONTROLLER, "systemctl start herd-tiers.service")
    until("a new job", lambda: ready.tier("fast")["job_id"] not in (job, None), 240, 2.0)
    assert ready.wait_ready("fast", 120)["context"] == 1024
