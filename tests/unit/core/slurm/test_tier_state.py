# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_report, tier_state
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Job
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_state import QueueSnapshot, TierState
from tests.unit.core.slurm.tiers import ENTRY, FAST, NAMED, NOW, PENDING, RUNNING, SEEN, observed, step


@pytest.mark.parametrize(
    ("job", "remembered"),
    [
        # The inventory has another name than the running job.
        (replace(RUNNING, name="llama-new"), "12"),
        (replace(RUNNING, name="llama-new", comment=""), "12"),
        (replace(RUNNING, name="llama-new", comment=NAMED), ""),
        (replace(RUNNING, name="llama-new", comment="herd-tiers tier=fast"), "9"),
        # Jobs whose comment names no tier, and jobs submitted by hand.
        (RUNNING, ""),
        (replace(RUNNING, comment=""), ""),
    ],
)
@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "COMPLETING"])
def test_job_is_found_by_its_number_tier_or_name(job: Job, remembered: str, state: str) -> None:
    job = replace(job, state=state)
    after, actions = step(TierState(job=remembered), observed(job))
    assert (after.job, actions) == ("12", [])
    assert tier_report.report(FAST, TierState(job=remembered), observed(job)).job_id == "12"
    states = {"fast": TierState(job=remembered)}
    assert tier_state.orphaned_jobs([FAST], states, QueueSnapshot(NOW, (job,)), "llama") == []


@pytest.mark.parametrize(
    ("job", "remembered", "is_orphan"),
    [
        # Jobs of a removed tier, with any name.
        (replace(RUNNING, comment="herd-tiers tier=gone"), "", True),
        (replace(RUNNING, comment="herd-tiers tier=gone"), "12", True),
        (replace(PENDING, comment="herd-tiers tier=gone"), "", True),
        (replace(RUNNING, comment="herd-tiers tier=gone", state="SOMETHING_NEW"), "", True),
        # Managed jobs whose comment names no tier.
        (replace(RUNNING, name="llama-old"), "", True),
        (replace(RUNNING, name="llama-old"), "12", False),
        # Ended and completing jobs, jobs of other users and jobs submitted by hand.
        (replace(RUNNING, name="llama-old", state="CANCELLED"), "", False),
        (replace(RUNNING, name="llama-old", state="COMPLETING"), "", False),
        (replace(RUNNING, name="llama-old", user="ann"), "", False),
        (replace(RUNNING, name="llama-old", comment=""), "", False),
        (replace(RUNNING, name="llama-old", comment="herd-tiersome"), "", False),
        (RUNNING, "", False),
    ],
)
def test_orphaned_job_is_found(job: Job, remembered: str, is_orphan: bool) -> None:
    states = {"fast": TierState(job=remembered)}
    assert tier_state.orphaned_jobs([FAST], states, QueueSnapshot(NOW, (job,)), "llama") == ([job] if is_orphan else [])
    assert tier_state.orphaned_jobs([FAST], states, QueueSnapshot(0.0, (job,)), "llama") == []
    assert tier_state.orphaned_jobs([FAST], states, QueueSnapshot(NOW, (job,), "silent"), "llama") == []


def test_comment_names_the_tier_of_a_job() -> None:
    job = replace(RUNNING, comment=tier_state.comment(FAST))
    assert tier_state.is_managed(job)
    assert tier_state.tier_of(job) == "fast"
    assert tier_state.tier_of(replace(RUNNING, comment="tier=fast")) == ""


@pytest.mark.parametrize("data", [None, [], {"job": 5}, {"failures": "x", "not_before": None}, {"unknown": 1}, "x"])
def test_invalid_state_data_is_dropped(data: Any) -> None:
    assert tier_state.state_from_data(data) == TierState()


def test_job_is_gone_only_if_a_newer_queue_lacks_it() -> None:
    def gone(taken: float, *jobs: Job, problem: str = "") -> set[str]:
        return tier_state.gone_jobs([ENTRY], QueueSnapshot(taken, jobs, problem), SEEN)

    assert gone(NOW + 1) == {"12"}
    assert gone(NOW + 1, PENDING) == {"12"}
    assert gone(NOW - 51) == set()
    assert gone(NOW + 1, RUNNING) == set()
    assert gone(NOW + 1, replace(RUNNING, state="COMPLETING")) == set()
    assert gone(NOW + 1, problem="silent") == set()


def test_requeued_job_that_runs_again_is_not_gone() -> None:
    """The queue showed the job as pending. The next run wrote its entry before the next queue."""
    again = replace(ENTRY, started=NOW + 100)
    seen = {**SEEN, tier_state.run_of(again): NOW + 105}
    assert tier_state.gone_jobs([again], QueueSnapshot(NOW + 99, (PENDING,)), seen) == set()
    # The entry of the former run is gone.
    assert tier_state.gone_jobs([ENTRY], QueueSnapshot(NOW + 99, (PENDING,)), seen) == {"12"}
    assert tier_state.gone_jobs([again], QueueSnapshot(NOW + 106, (RUNNING,)), seen) == set()
    assert tier_state.gone_jobs([again], QueueSnapshot(NOW + 106, (PENDING,)), seen) == {"12"}


def test_loading_time_is_remembered() -> None:
    assert tier_state.loaded_in(TierState(), replace(ENTRY, started=NOW - 42, heartbeat=NOW)).load_s == 42
    assert tier_state.loaded_in(TierState(), replace(ENTRY, started=NOW + 42, heartbeat=NOW)) == TierState()


def test_comment_has_the_fingerprint_of_a_job() -> None:
    comment = tier_state.comment(replace(FAST, fingerprint="aaaaaaaa"))
    assert comment.startswith("herd-tiers")
    assert comment.endswith(" fingerprint=aaaaaaaa")
    assert "fingerprint=" not in tier_state.comment(FAST)
