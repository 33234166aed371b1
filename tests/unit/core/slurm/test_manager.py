# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import job_reasons, tier_report, tier_state
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import manager as tier_manager
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.manager import UNSURE_S
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending, Job
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_state import (
    CANCEL,
    EXPLAIN,
    SUBMIT,
    Action,
    ManualStop,
    Observation,
    QueueSnapshot,
    TierState,
)
from tests.unit.core.slurm.tiers import (
    BACKOFF_S,
    DIED,
    ENTRY,
    FAST,
    NAMED,
    NOW,
    PENDING,
    RUNNING,
    SEEN,
    VASP,
    WAITING,
    observed,
    step,
)

OFTEN = "Slurm has requeued it as often as it may (MaxBatchRequeue), and holds it"


def test_tier_without_a_job_gets_one() -> None:
    assert step(TierState(), observed())[1] == [(SUBMIT, "")]


@pytest.mark.parametrize("remembered", ["", "12"])
@pytest.mark.parametrize(
    "state",
    [
        "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED", "STOPPED", "POWER_UP_NODE",
        "UPDATE_DB", "EXPEDITING", "LAUNCH_FAILED", "RECONFIG_FAIL", "SOMETHING_NEW",
    ],
)  # fmt: skip
def test_tier_with_a_live_job_gets_no_other(state: str, remembered: str) -> None:
    job = replace(RUNNING, state=state)
    after, actions = step(TierState(job=remembered), observed(job))
    assert actions == []
    assert after.job == "12"
    # The entry of a job that may run stays alive.
    is_there = state not in ("PENDING", "REQUEUED", "EXPEDITING")
    assert (tier_state.gone_jobs([ENTRY], QueueSnapshot(NOW, (job,)), SEEN) == set()) is is_there


@pytest.mark.parametrize(
    "other",
    [
        replace(RUNNING, name="llama-72b"),
        replace(RUNNING, user="root"),
        replace(RUNNING, comment="herd-tiers tier=slow"),
        replace(RUNNING, state="FAILED"),
        replace(RUNNING, state="CANCELLED"),
        replace(VASP, reason="Dependency", state="PENDING"),
        replace(VASP, reason="BeginTime", state="PENDING"),
        VASP,
    ],
)
def test_jobs_of_others_are_ignored(other: Job) -> None:
    assert step(TierState(), observed(other))[1] == [(SUBMIT, "")]


@pytest.mark.parametrize(
    "queue",
    [QueueSnapshot(), QueueSnapshot(NOW, (), "Unable to contact slurm controller", NOW), QueueSnapshot(0.0, (), "x")],
)
def test_no_action_while_slurm_does_not_answer(queue: QueueSnapshot) -> None:
    state = TierState(job="12")
    assert tier_manager.step(FAST, state, Observation(NOW, queue)) == (state, [])


def test_no_job_is_submitted_while_a_preempting_job_waits() -> None:
    state, actions = step(TierState(), observed(WAITING))
    assert actions == []
    assert (
        tier_report.report(FAST, state, observed(WAITING)).reason == "waits until job 88 of vasp_priority has started"
    )


@pytest.mark.parametrize(
    ("status", "job", "text", "again_after"),
    [
        (124, "", "sbatch did not end within 60 seconds", UNSURE_S),
        (1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", UNSURE_S),
        (1, "", "sbatch: error: Batch job submission failed: Unable to contact slurm controller", UNSURE_S),
        (1, "", "sbatch: error: Batch job submission failed: Connection reset by peer", UNSURE_S),
        (0, "", "", UNSURE_S),
        (1, "", "sbatch: error: Batch job submission failed: Invalid qos specification", BACKOFF_S[0]),
    ],
)
def test_failed_sbatch_causes_no_second_job(status: int, job: str, text: str, again_after: float) -> None:
    state = tier_manager.submitted(FAST, tier_manager.about_to_submit(TierState(), NOW), NOW, status, job, text)
    # An older queue, for which Slurm took long.
    stale = Observation(NOW + again_after - 1, QueueSnapshot(NOW - 1))
    assert tier_manager.step(FAST, state, stale)[1] == []
    assert step(state, observed(wall=NOW + again_after - 1))[1] == []
    # Slurm has accepted the job after all.
    assert step(state, observed(PENDING, wall=NOW + 5))[1] == []
    assert step(state, observed(wall=NOW + again_after + 1))[1] == [(SUBMIT, "")]


def test_manager_killed_during_sbatch_does_not_submit_again() -> None:
    kept = json.loads(json.dumps(asdict(tier_manager.about_to_submit(TierState(), NOW))))
    state = tier_state.state_from_data(kept)
    assert step(state, observed(wall=NOW + 3))[1] == []
    assert "Slurm has not confirmed" in tier_report.report(FAST, state, observed(wall=NOW + 3)).reason
    assert step(state, observed(PENDING, wall=NOW + 4))[0].job == "12"
    assert step(state, observed(wall=NOW + UNSURE_S + 1))[1] == [(SUBMIT, "")]


def test_queue_older_than_the_submission_is_ignored() -> None:
    state = tier_manager.submitted(FAST, tier_manager.about_to_submit(TierState(), NOW), NOW + 1, 0, "12", "12")
    assert tier_manager.step(FAST, state, Observation(NOW + 2, QueueSnapshot(NOW - 1)))[1] == []


def test_pending_duplicate_is_cancelled() -> None:
    second = replace(PENDING, id="13")
    state, actions = step(TierState(), observed(second, RUNNING))
    assert actions == [(CANCEL, "13")]
    # Not again at once.
    assert step(state, observed(second, RUNNING, wall=NOW + 2))[1] == []
    assert step(state, observed(second, RUNNING, wall=NOW + 100))[1] == [(CANCEL, "13")]
    # The duplicate's end is no failure of the tier.
    assert step(state, observed(RUNNING, wall=NOW + 3))[1] == []


def test_running_duplicate_is_kept_while_the_first_job_may_end() -> None:
    second = replace(RUNNING, id="13")
    assert step(TierState(), observed(replace(RUNNING, state="COMPLETING"), second))[1] == []
    state, actions = step(TierState(), observed(RUNNING, second))
    assert actions == []
    assert step(state, observed(RUNNING, second, wall=NOW + 20))[1] == [(CANCEL, "13")]


def test_job_in_an_unknown_state_is_kept() -> None:
    first, second = replace(RUNNING, state="SOMETHING_NEW"), replace(RUNNING, id="13")
    state, _actions = step(TierState(), observed(first, second))
    assert step(state, observed(first, second, wall=NOW + 20))[1] == [(CANCEL, "13")]


def test_stopped_tier_loses_its_job_and_gets_none() -> None:
    stops = {"fast": ManualStop("maintenance", "ann")}
    state, actions = step(TierState(), observed(RUNNING, stops=stops))
    assert actions == [(CANCEL, "12")]
    state, actions = step(state, observed(replace(RUNNING, state="COMPLETING"), wall=NOW + 2, stops=stops))
    assert actions == []
    state, actions = step(state, observed(wall=NOW + 40, stops=stops))
    assert actions == [(EXPLAIN, "12")]
    ending = {"12": Ending(state="CANCELLED", by="0", elapsed=800)}
    state, actions = step(state, observed(wall=NOW + 41, stops=stops, endings=ending))
    assert actions == []
    tier = tier_report.report(FAST, state, observed(wall=NOW + 41, stops=stops))
    assert (tier.state, tier.reason, tier.enabled) == ("stopped", "stopped by ann: maintenance", False)
    # A started tier gets a new job at once.
    assert step(state, observed(wall=NOW + 42))[1] == [(SUBMIT, "")]


def test_disabled_tier_loses_only_a_managed_job() -> None:
    off = replace(FAST, enabled=False)
    assert step(TierState(), observed(), off)[1] == []
    assert step(TierState(), observed(RUNNING), off)[1] == [(CANCEL, "12")]
    assert step(TierState(), observed(replace(RUNNING, comment=NAMED)), off)[1] == [(CANCEL, "12")]
    assert step(TierState(), observed(replace(RUNNING, comment="")), off)[1] == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("launch failed requeued held", "its launch failed, and Slurm holds it"),
        ("launch failure limit exceeded requeued held", OFTEN),
        ("JobHoldMaxRequeue", OFTEN),
    ],
)
@pytest.mark.parametrize("job_state", ["PENDING", "REQUEUE_HOLD"])
def test_job_held_after_a_failed_launch_is_cancelled(reason: str, words: str, job_state: str) -> None:
    held = replace(PENDING, reason=reason, state=job_state)
    state, actions = step(TierState(), observed(held))
    assert actions == [(CANCEL, "12")]
    tier = tier_report.report(FAST, state, observed(held))
    assert tier.reason == f"pending: {reason} ({words})"
    assert "journalctl -u slurmd" in tier.advice
    # The failure counts once, however long it takes.
    cancels = 0
    for tick in range(100):
        state, actions = step(state, observed(held, wall=NOW + 2 * tick))
        cancels += len(actions)
        assert (state.failures, state.not_before) == (1, NOW + BACKOFF_S[0])
    assert cancels == 2
    ending = {"12": Ending(state="CANCELLED")}
    state, actions = step(state, observed(wall=NOW + 1, endings=ending))
    assert actions == []
    assert "launch" not in state.job
    assert f"job 12 did not start: {words}" in tier_report.report(FAST, state, observed(wall=NOW + 1)).reason
    # The next failed launch counts again.
    state, actions = step(state, observed(replace(held, id="13"), wall=NOW + 400))
    assert (actions, state.failures) == ([(CANCEL, "13")], 2)


def test_failed_launch_is_counted_once_if_a_user_cancels_the_job() -> None:
    held = replace(PENDING, reason="JobHoldMaxRequeue")
    state, _actions = step(TierState(), observed(held))
    # A duplicate was cancelled meanwhile.
    state = replace(state, cancelled="13")
    state, _actions = step(state, observed(wall=NOW + 1, endings={"12": Ending(state="CANCELLED")}))
    assert (state.failures, state.not_before, state.counted) == (1, NOW + BACKOFF_S[0], "")


def test_released_job_is_judged_by_its_end() -> None:
    state, _actions = step(TierState(), observed(replace(PENDING, reason="JobHoldMaxRequeue")))
    state, _actions = step(state, observed(RUNNING, wall=NOW + 100))
    state = replace(state, cancelled="")
    state, _actions = step(state, observed(wall=NOW + 200, endings={"12": DIED}))
    assert (state.failures, state.why) == (2, job_reasons.explain("12", DIED)[0])


def lose(state: TierState, wall: float, ending: Ending, job: str = "12") -> TierState:
    state, actions = step(replace(state, job=job), observed(wall=wall))
    assert actions == [(EXPLAIN, job)]
    return step(state, observed(wall=wall, endings={job: ending}))[0]


def test_backoff_is_that_of_the_inventory() -> None:
    spec, state, wall, pauses = replace(FAST, backoff=(3.0, 5.0)), TierState(), NOW, []
    for number in range(4):
        state = replace(state, job=str(number))
        state, _actions = step(state, observed(wall=wall, endings={str(number): DIED}), spec)
        pauses.append(state.not_before - wall)
        wall = state.not_before + 1
    assert pauses == [3.0, 5.0, 5.0, 5.0]
    # Neither a cancelled job nor a clock that was set back is a failure.
    state, _actions = step(replace(state, job="9"), observed(wall=wall, endings={"9": Ending(state="CANCELLED")}), spec)
    assert state.not_before == wall + tier_manager.CANCELLED_S
    assert step(state, observed(wall=wall + 1), spec)[0].not_before == state.not_before


def test_backoff_grows_with_each_failed_job() -> None:
    state, wall, pauses = TierState(), NOW, []
    for number in range(10):
        state = lose(state, wall, DIED, str(100 + number))
        pauses.append(state.not_before - wall)
        tier = tier_report.report(FAST, state, observed(wall=wall))
        assert tier.state == "backing-off"
        assert "head on vasp-02 has ended with status 1" in tier.reason
        assert step(state, observed(wall=state.not_before - 1))[1] == []
        wall = state.not_before + 1
        assert step(state, observed(wall=wall))[1] == [(SUBMIT, "")]
    assert pauses == [*BACKOFF_S, BACKOFF_S[-1], BACKOFF_S[-1]]
    assert "10 times in a row" in tier.reason
    # A job that has served for long enough resets the failures.
    ready = replace(ENTRY, started=wall - 700, heartbeat=wall)
    state, _actions = step(state, observed(replace(RUNNING, start=wall - 700), wall=wall, endpoints=[ready]))
    assert state.failures == 0


@pytest.mark.parametrize(
    ("ending", "pause", "failures", "words"),
    [
        (DIED, 10, 1, "job 12 failed with status 1 after 4 seconds: head on vasp-02"),
        (replace(DIED, exit_code=0, signal=9), 10, 1, "failed by signal 9"),
        (replace(DIED, elapsed=3600), 10, 1, "after 60 minutes"),
        (replace(DIED, signal=9, reason="JobLaunchFailure", nodes="vasp-02"), 10, 1, "was killed on vasp-02"),
        (
            Ending("OUT_OF_MEMORY", elapsed=60, needed=210 << 30, allowed="200G"),
            10,
            1,
            "ran out of memory after 60 seconds (limit 200G; 210.00 GiB was seen)",
        ),
        (Ending("NODE_FAIL", elapsed=60, nodes="vasp-02"), 10, 1, "lost a node of vasp-02"),
        (Ending("BOOT_FAIL"), 10, 1, "lost a node"),
        (Ending("COMPLETED", elapsed=3), 10, 1, "ended by itself"),
        (Ending("TIMEOUT", elapsed=86400, limit="1-00:00:00"), 0, 0, "reached its time limit of 1-00:00:00"),
        (Ending("TIMEOUT", elapsed=60, limit="00:01:00"), 10, 1, "reached its time limit"),
        (Ending("PREEMPTED", elapsed=5), 0, 0, "was preempted"),
        (Ending("REQUEUED", elapsed=5), 0, 0, "as REQUEUED"),
        (Ending("CANCELLED", by="1000", elapsed=5), 60, 0, "was cancelled by user number 1000"),
        (Ending("DEADLINE"), 10, 1, "deadline"),
        (Ending(), 10, 1, "accounting does not say why"),
        (Ending("WEIRD"), 10, 1, "as WEIRD"),
    ],
)
def test_end_of_a_job_decides_the_pause_before_the_next(
    ending: Ending, pause: float, failures: int, words: str
) -> None:
    state = lose(TierState(), NOW, ending)
    assert (state.not_before - NOW, state.failures, state.job) == (pause, failures, "")
    assert words in state.why


def test_clock_set_back_does_not_extend_a_pause() -> None:
    state = TierState(not_before=NOW + 86400, why="x", failures=1)
    assert step(state, observed())[1] == [(SUBMIT, "")]


def test_clock_set_back_after_a_submission_restarts_the_wait() -> None:
    unsure = tier_manager.submitted(
        FAST, tier_manager.about_to_submit(TierState(), NOW + 86400), NOW + 86400, 124, "", "x"
    )
    lost = tier_manager.submitted(FAST, TierState(), NOW + 86400, 0, "12", "")
    for after in (unsure, lost):
        endings = {"12": Ending("TIMEOUT", elapsed=1e5)}
        state, actions = step(after, observed(endings=endings))
        # The job may still arrive.
        assert actions == []
        state, actions = step(state, observed(wall=NOW + UNSURE_S - 1, endings=endings))
        assert actions == []
        assert step(state, observed(wall=NOW + UNSURE_S + 1, endings=endings))[1] == [(SUBMIT, "")]


def test_clock_set_back_does_not_keep_a_duplicate() -> None:
    second = replace(RUNNING, id="13")
    state, actions = step(TierState(duplicate_since=NOW + 86400), observed(RUNNING, second))
    assert actions == []
    assert step(state, observed(RUNNING, second, wall=NOW + 20))[1] == [(CANCEL, "13")]


def test_action_has_a_reason() -> None:
    _memory, actions = tier_manager.step(
        FAST, TierState(), observed(RUNNING, stops={"fast": ManualStop("maintenance")})
    )
    assert actions == [Action(CANCEL, "12", "stopped: maintenance")]
