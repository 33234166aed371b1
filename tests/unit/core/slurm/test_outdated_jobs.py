# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import manager as tier_manager
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_report
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending, Job
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_state import (
    CANCEL,
    RENEW,
    SUBMIT,
    TierState,
)
from tests.unit.core.slurm.tiers import ENTRY, FAST, NOW, PENDING, RUNNING, observed, step

PLANNED = replace(FAST, fingerprint="aaaaaaaa")
OLD, NEW = "herd-tiers tier=fast fingerprint=bbbbbbbb", "herd-tiers tier=fast fingerprint=aaaaaaaa"


@pytest.mark.parametrize("comment", [OLD, "herd-tiers", "by hand fingerprint=bbbbbbbb"])
def test_pending_outdated_job_is_replaced(comment: str) -> None:
    old = replace(PENDING, comment=comment)
    state, actions = step(TierState(job="12"), observed(old), PLANNED)
    assert actions == [(CANCEL, "12")]
    assert "job 12 is outdated" in tier_report.report(PLANNED, state, observed(old)).advice
    state, actions = step(state, observed(wall=NOW + 2, endings={"12": Ending(state="CANCELLED")}), PLANNED)
    assert actions == [(SUBMIT, "")], "at once: nobody has cancelled it but the manager"
    state = tier_manager.submitted(PLANNED, state, NOW + 2, 0, "13", "13")
    # Also on a site that rewrites comments.
    for found in (NEW, "project 7", "herd-tiers"):
        new = replace(PENDING, id="13", comment=found)
        assert step(state, observed(new, wall=NOW + 4), PLANNED)[1] == []
        assert "outdated" not in tier_report.report(PLANNED, state, observed(new)).advice


@pytest.mark.parametrize(
    "job",
    [
        replace(PENDING, comment=NEW),
        replace(PENDING, comment="somebody's own"),
        # A user holds the job. A new job would not be held.
        replace(PENDING, comment=OLD, reason="JobHeldUser"),
        replace(PENDING, comment=OLD, reason="job requeued in held state", state="REQUEUE_HOLD"),
        replace(PENDING, comment=OLD, reason="job requeued in held state"),
        replace(RUNNING, comment=NEW),
        replace(RUNNING, comment="", state="COMPLETING"),
    ],
)
def test_current_or_held_job_is_not_replaced(job: Job) -> None:
    assert step(TierState(job="12"), observed(job, endpoints=[ENTRY]), PLANNED)[1] == []


def test_serving_outdated_job_is_asked_to_requeue_itself() -> None:
    old = replace(RUNNING, comment=OLD)
    # A starting job may not have its signal handlers yet.
    state, actions = step(TierState(job="12"), observed(old), PLANNED)
    assert actions == []
    state, actions = step(state, observed(old, endpoints=[ENTRY]), PLANNED)
    assert actions == [(RENEW, "12")]
    report = tier_report.report(PLANNED, state, observed(old, endpoints=[ENTRY]))
    assert report.state == "ready"
    assert "job 12 is outdated" in report.advice
    assert "in an idle window" in report.advice
    assert step(state, observed(old, wall=NOW + 60, endpoints=[ENTRY]), PLANNED)[1] == []
    assert step(state, observed(old, wall=NOW + 700, endpoints=[ENTRY]), PLANNED)[1] == [(RENEW, "12")]
    # The job has requeued itself.
    assert step(state, observed(replace(PENDING, comment=OLD), wall=NOW + 60), PLANNED)[1] == [(CANCEL, "12")]


def test_new_run_of_an_outdated_job_is_asked_again() -> None:
    """The inventory may change twice in ten minutes, and a preemption may requeue the job."""
    old = replace(RUNNING, comment=OLD)
    assert old.start
    before, since = TierState(job="12", renewed_at=old.start - 5), TierState(job="12", renewed_at=old.start + 5)
    assert step(before, observed(old, wall=old.start + 60, endpoints=[ENTRY]), PLANNED)[1] == [(RENEW, "12")]
    assert step(since, observed(old, wall=old.start + 60, endpoints=[ENTRY]), PLANNED)[1] == []


def test_running_job_without_fingerprint_is_kept() -> None:
    """The signal would end a runtime without a handler."""
    old = replace(RUNNING, comment="herd-tiers")
    assert step(TierState(job="12"), observed(old, endpoints=[ENTRY]), PLANNED)[1] == []
    assert "when it is requeued" in tier_report.report(PLANNED, TierState(job="12"), observed(old)).advice


def test_duplicate_of_an_outdated_job_is_cancelled() -> None:
    old, second = replace(RUNNING, comment=OLD), replace(PENDING, id="13", comment=NEW)
    state = TierState(job="12", renewed_at=NOW - 5)
    assert step(state, observed(old, second, endpoints=[ENTRY]), PLANNED)[1] == [(CANCEL, "13")]


def test_no_job_is_outdated_without_a_configured_fingerprint() -> None:
    assert step(TierState(job="12"), observed(replace(PENDING, comment=OLD)))[1] == []
