# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_report
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import Endpoint
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Job
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_state import (
    Observation,
    QueueSnapshot,
    TierState,
)
from tests.unit.core.slurm.tiers import ENTRY, FAST, NOW, PENDING, RUNNING, VASP, WAITING, observed, said

PRIORITY = "pending: Priority (jobs of higher priority come first)"


def test_unknown_state_of_a_job_is_shown() -> None:
    assert said(replace(RUNNING, state="SOMETHING_NEW")) == ("pending", "job 12 is SOMETHING_NEW", 30)


@pytest.mark.parametrize(
    ("jobs", "entries", "expected"),
    [
        ([RUNNING], [ENTRY], ("ready", "", 1)),
        ([RUNNING], [replace(ENTRY, state="loading", percent=43, started=NOW - 44)], ("loading", "loading 43 %", 57)),
        ([RUNNING], [replace(ENTRY, state="loading", percent=0, started=NOW - 21)], ("loading", "loading 0 %", 100)),
        # Both times are by a clock that is a day ahead or behind.
        ([RUNNING], [replace(ENTRY, state="loading", percent=43, started=NOW + 86400 - 43, heartbeat=NOW + 86400)],
         ("loading", "loading 43 %", 57)),
        ([RUNNING], [replace(ENTRY, state="loading", percent=43, started=NOW - 86400 - 43, heartbeat=NOW - 86400)],
         ("loading", "loading 43 %", 57)),
        ([replace(RUNNING, start=NOW - 10)], [], ("loading", "starting as job 12", 110)),
        ([RUNNING, WAITING], [replace(ENTRY, state="draining")],
         ("draining", "making way for job 88 of vasp_priority", 60)),
        ([RUNNING], [replace(ENTRY, state="draining")], ("draining", "job 12 is ending", 30)),
        ([replace(RUNNING, state="COMPLETING")], [], ("draining", "job 12 is ending", 30)),
        ([replace(PENDING, restarts=1), VASP], [],
         ("preempted", f"preempted by job 88 of vasp_priority; {PRIORITY}", 600)),
        ([PENDING, VASP], [],
         ("pending", f"waits for job 88 of vasp_priority; {PRIORITY}", 600)),
        ([replace(PENDING, restarts=1, reason="BeginTime", start=NOW + 100)], [],
         ("pending", "pending: BeginTime (Slurm waits two minutes before it starts a requeued job again)", 220)),
        ([PENDING], [], ("pending", PRIORITY, 60)),
        ([replace(PENDING, reason="")], [], ("pending", "pending: not considered by Slurm yet", 60)),
        ([replace(PENDING, reason="JobHeldUser")], [], ("stopped", "job 12 is held", 600)),
        ([replace(PENDING, reason="job requeued in held state")], [], ("stopped", "job 12 is held", 600)),
        ([replace(PENDING, reason="None", state="SPECIAL_EXIT")], [], ("stopped", "job 12 is held", 600)),
        ([replace(PENDING, reason="job requeued in held state", state="REQUEUE_HOLD")], [],
         ("stopped", "job 12 is held", 600)),
        ([replace(RUNNING, state="SUSPENDED")], [], ("pending", "job 12 is suspended", 120)),
        ([], [], ("pending", "its job is about to be submitted", 30)),
    ],
)  # fmt: skip
def test_report_has_state_reason_and_retry_time(
    jobs: list[Job], entries: list[Endpoint], expected: tuple[str, str, int]
) -> None:
    assert said(*jobs, endpoints=entries) == expected


def test_report_of_a_late_job_names_its_log() -> None:
    def advice(started: float) -> str:
        return tier_report.report(FAST, TierState(load_s=30.0), observed(replace(RUNNING, start=NOW - started))).advice

    assert advice(300) == ""
    assert advice(340) == "loading takes longer than expected: see ai/logs/12/job.log in the shared directory"


def test_job_without_an_entry_is_draining_until_the_queue_shows_its_end() -> None:
    assert said(RUNNING, drained={"12": 0})[0] == "draining"
    # After a restart the job is starting.
    assert said(replace(RUNNING, restarts=1), drained={"12": 0})[0] == "loading"


def test_expected_time_includes_the_load() -> None:
    def expected(*jobs: Job) -> float | None:
        return tier_report.report(FAST, TierState(load_s=20.0), observed(*jobs)).expected

    assert expected(replace(PENDING, reason="BeginTime", start=NOW + 100, restarts=1)) == NOW + 120
    assert expected(replace(PENDING, reason="BeginTime", start=NOW + 100, restarts=1), VASP) == NOW + 3620
    # Slurm's own estimate has priority.
    assert expected(replace(PENDING, start=NOW + 500, restarts=1), VASP) == NOW + 520
    assert expected(PENDING, WAITING) is None


@pytest.mark.parametrize(
    ("reason", "words", "advice"),
    [
        ("ReqNodeNotAvail, UnavailableNodes:vasp-02", "a node is down, drained or reserved", "sinfo -R"),
        ("Nodes required for job are DOWN, DRAINED or reserved", "a node is down, drained or reserved", "sinfo -R"),
        ("QOSMaxJobsPerUserLimit", "a limit of its QoS is reached", "show qos"),
        ("AssocGrpGRES", "a limit of its account is reached", "show assoc"),
        ("PartitionTimeLimit", "longer than the partition's", "time_limit"),
        ("JobHeldAdmin", "", "scontrol release 12"),
        ("job requeued in held state", "", "scontrol release 12"),
        ("BadConstraints", "no node matches its constraints", "gres"),
        ("SomethingNew", "SomethingNew", ""),
    ],
)
def test_pending_reason_is_explained(reason: str, words: str, advice: str) -> None:
    tier = tier_report.report(FAST, TierState(), observed(replace(PENDING, reason=reason)))
    assert words in tier.reason
    assert advice in tier.advice
    assert tier.pending_reason == reason


def test_ready_tier_stays_ready_while_slurm_does_not_answer() -> None:
    silent = QueueSnapshot(NOW - 60, (RUNNING,), "Unable to contact slurm controller (connect failure)", NOW - 50)
    found = Observation(NOW, silent, [ENTRY])
    assert tier_report.report(FAST, TierState(job="12"), found).state == "ready"
    tier = tier_report.report(FAST, TierState(), Observation(NOW, QueueSnapshot(0.0, (), "refused", NOW)))
    assert (tier.state, tier.retry_after_s) == ("pending", 60)
    assert "slurmctld has not answered since" in tier.reason
    view = tier_report.report_all([FAST], {}, found, ["x"])
    assert len(view.problems) == 2


@pytest.mark.parametrize(
    ("job", "entries", "is_said"), [(PENDING, [], True), (RUNNING, [ENTRY], False), (RUNNING, [], False)]
)
def test_pending_tier_shows_its_gpu_conflict(job: Job, entries: list[Endpoint], is_said: bool) -> None:
    spec = replace(FAST, gpu_conflict="fast and reasoning never serve at the same time")
    report = tier_report.report(spec, TierState(job="12"), observed(job, endpoints=entries))
    assert ("never serve at the same time" in report.advice) is is_said
