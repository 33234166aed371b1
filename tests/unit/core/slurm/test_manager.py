# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import manager as tier_rules
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import Endpoint
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.manager import (
    BACKOFF_S,
    CANCEL,
    EXPLAIN,
    RENEW,
    SUBMIT,
    UNSURE_S,
    Action,
    Facts,
    Memory,
    Queue,
    Stop,
    Wanted,
)
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending, Job

NOW = 1_763_700_000.0
FAST = Wanted("fast", "llama-14b", "llama", "/s/run-14b.slurm", preempted_by=("vasp_priority",), hosts=("vasp-02",))
RUNNING = Job("12", "llama-14b", "llama", "RUNNING", start=NOW - 700, nodes=("vasp-02",), comment="herd-tiers")
PENDING = replace(RUNNING, state="PENDING", reason="Priority", start=None, nodes=())
VASP = Job(
    "88", "vasp", "vasp", "RUNNING", start=NOW - 60, end=NOW + 3600, nodes=("vasp-01", "vasp-02"), qos="vasp_priority"
)
WAITING = replace(VASP, state="PENDING", reason="Resources", start=None, end=None, nodes=())
ENTRY = Endpoint(
    tier="fast", job_id="12", host="vasp-02", address="10.0.0.42", port=8080, models=("m",), state="ready", percent=100,
    context=2048, slots=1, release="r", started=NOW - 690, heartbeat=NOW - 1,
)  # fmt: skip
OFTEN = "Slurm has requeued it as often as it may (MaxBatchRequeue), and holds it"
SEEN = {tier_rules.run_of(ENTRY): NOW - 50}
PRIORITY = "pending: Priority (jobs of higher priority come first)"
DIED = Ending(state="FAILED", exit_code=1, elapsed=4, log="head on vasp-02 has ended with status 1")


def facts(*jobs: Job, wall: float = NOW, **more: Any) -> Facts:
    return Facts(wall=wall, queue=Queue(wall - 0.1, jobs), **more)


def step(memory: Memory, found: Facts, wanted: Wanted = FAST) -> tuple[Memory, list[tuple[str, str]]]:
    after, actions = tier_rules.step(wanted, memory, found)
    return after, [(action.kind, action.job) for action in actions]


# What is done


def test_a_tier_without_a_job_gets_one() -> None:
    assert step(Memory(), facts())[1] == [(SUBMIT, "")]


@pytest.mark.parametrize("remembered", ["", "12"])
@pytest.mark.parametrize(
    "state",
    [
        "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED", "STOPPED", "POWER_UP_NODE",
        "UPDATE_DB", "EXPEDITING", "LAUNCH_FAILED", "RECONFIG_FAIL", "SOMETHING_NEW",
    ],
)  # fmt: skip
def test_a_tier_with_a_job_gets_none(state: str, remembered: str) -> None:
    job = replace(RUNNING, state=state)
    memory, actions = step(Memory(job=remembered), facts(job))
    assert actions == []
    assert memory.job == "12"
    # Nothing is held against an entry of a job that may run.
    is_there = state not in ("PENDING", "REQUEUED", "EXPEDITING")
    assert (tier_rules.gone_jobs([ENTRY], Queue(NOW, (job,)), SEEN) == set()) is is_there


def test_a_job_in_a_state_that_nobody_knows_is_shown_as_it_is() -> None:
    assert said(replace(RUNNING, state="SOMETHING_NEW")) == ("pending", "job 12 is SOMETHING_NEW", 30)


NAMED = "herd-tiers tier=fast data=0123456789abcdef"


@pytest.mark.parametrize(
    ("job", "remembered"),
    [
        # The inventory has another name for it than the job that runs.
        (replace(RUNNING, name="llama-new"), "12"),
        (replace(RUNNING, name="llama-new", comment=""), "12"),
        (replace(RUNNING, name="llama-new", comment=NAMED), ""),
        (replace(RUNNING, name="llama-new", comment="herd-tiers tier=fast"), "9"),
        # What an older manager submitted, and what people did.
        (RUNNING, ""),
        (replace(RUNNING, comment=""), ""),
    ],
)
@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "COMPLETING"])
def test_a_job_is_known_by_its_number_its_tier_and_its_name(job: Job, remembered: str, state: str) -> None:
    job = replace(job, state=state)
    memory, actions = step(Memory(job=remembered), facts(job))
    assert (memory.job, actions) == ("12", [])
    assert tier_rules.report(FAST, Memory(job=remembered), facts(job)).job_id == "12"
    assert tier_rules.stray_jobs([FAST], {"fast": Memory(job=remembered)}, Queue(NOW, (job,)), "llama") == []


@pytest.mark.parametrize(
    ("job", "remembered", "is_stray"),
    [
        # Of a tier that is not there any more, whatever name it goes by.
        (replace(RUNNING, comment="herd-tiers tier=gone"), "", True),
        (replace(RUNNING, comment="herd-tiers tier=gone"), "12", True),
        (replace(PENDING, comment="herd-tiers tier=gone"), "", True),
        (replace(RUNNING, comment="herd-tiers tier=gone", state="SOMETHING_NEW"), "", True),
        # Of an older manager, for a tier of another name.
        (replace(RUNNING, name="llama-old"), "", True),
        (replace(RUNNING, name="llama-old"), "12", False),
        # Over, or ending; somebody else's, or submitted by hand.
        (replace(RUNNING, name="llama-old", state="CANCELLED"), "", False),
        (replace(RUNNING, name="llama-old", state="COMPLETING"), "", False),
        (replace(RUNNING, name="llama-old", user="ann"), "", False),
        (replace(RUNNING, name="llama-old", comment=""), "", False),
        (replace(RUNNING, name="llama-old", comment="herd-tiersome"), "", False),
        (RUNNING, "", False),
    ],
)
def test_a_job_of_no_tier_is_ended(job: Job, remembered: str, is_stray: bool) -> None:
    memories = {"fast": Memory(job=remembered)}
    assert tier_rules.stray_jobs([FAST], memories, Queue(NOW, (job,)), "llama") == ([job] if is_stray else [])
    assert tier_rules.stray_jobs([FAST], memories, Queue(0.0, (job,)), "llama") == []
    assert tier_rules.stray_jobs([FAST], memories, Queue(NOW, (job,), "silent"), "llama") == []


def test_what_is_submitted_is_known_as_the_tier_s_own() -> None:
    job = replace(RUNNING, comment=tier_rules.comment(FAST))
    assert tier_rules.is_managed(job)
    assert tier_rules.tier_of(job) == "fast"
    assert tier_rules.tier_of(replace(RUNNING, comment="tier=fast")) == ""


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
def test_other_jobs_are_none_of_its_own(other: Job) -> None:
    assert step(Memory(), facts(other))[1] == [(SUBMIT, "")]


@pytest.mark.parametrize(
    "queue", [Queue(), Queue(NOW, (), "Unable to contact slurm controller", NOW), Queue(0.0, (), "x")]
)
def test_nothing_is_done_while_slurm_does_not_answer(queue: Queue) -> None:
    memory = Memory(job="12")
    assert tier_rules.step(FAST, memory, Facts(NOW, queue)) == (memory, [])


def test_nothing_is_submitted_while_work_that_comes_first_waits() -> None:
    memory, actions = step(Memory(), facts(WAITING))
    assert actions == []
    assert tier_rules.report(FAST, memory, facts(WAITING)).reason == "waits until job 88 of vasp_priority has started"


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
def test_whatever_sbatch_says_there_is_no_second_job(status: int, job: str, text: str, again_after: float) -> None:
    memory = tier_rules.submitted(FAST, tier_rules.about_to_submit(Memory(), NOW), NOW, status, job, text)
    # A queue from before, that Slurm needed long to answer.
    stale = Facts(NOW + again_after - 1, Queue(NOW - 1))
    assert tier_rules.step(FAST, memory, stale)[1] == []
    assert step(memory, facts(wall=NOW + again_after - 1))[1] == []
    # It has come through after all.
    assert step(memory, facts(PENDING, wall=NOW + 5))[1] == []
    assert step(memory, facts(wall=NOW + again_after + 1))[1] == [(SUBMIT, "")]


def test_a_manager_that_was_killed_in_the_middle_of_sbatch_does_not_submit_again() -> None:
    kept = json.loads(json.dumps(tier_rules.memory_data(tier_rules.about_to_submit(Memory(), NOW))))
    memory = tier_rules.memory_from(kept)
    assert step(memory, facts(wall=NOW + 3))[1] == []
    assert "Slurm has not said whether" in tier_rules.report(FAST, memory, facts(wall=NOW + 3)).reason
    assert step(memory, facts(PENDING, wall=NOW + 4))[0].job == "12"
    assert step(memory, facts(wall=NOW + UNSURE_S + 1))[1] == [(SUBMIT, "")]


def test_a_queue_from_before_the_submission_proves_nothing() -> None:
    memory = tier_rules.submitted(FAST, tier_rules.about_to_submit(Memory(), NOW), NOW + 1, 0, "12", "12")
    assert tier_rules.step(FAST, memory, Facts(NOW + 2, Queue(NOW - 1)))[1] == []


def test_second_jobs_are_ended_and_never_the_first() -> None:
    second = replace(PENDING, id="13")
    memory, actions = step(Memory(), facts(second, RUNNING))
    assert actions == [(CANCEL, "13")]
    # Not again at once.
    assert step(memory, facts(second, RUNNING, wall=NOW + 2))[1] == []
    assert step(memory, facts(second, RUNNING, wall=NOW + 100))[1] == [(CANCEL, "13")]
    # Its end is no failure of the tier.
    assert step(memory, facts(RUNNING, wall=NOW + 3))[1] == []


def test_a_second_job_that_runs_is_left_alone_while_the_first_may_be_ending() -> None:
    second = replace(RUNNING, id="13")
    assert step(Memory(), facts(replace(RUNNING, state="COMPLETING"), second))[1] == []
    memory, actions = step(Memory(), facts(RUNNING, second))
    assert actions == []
    assert step(memory, facts(RUNNING, second, wall=NOW + 20))[1] == [(CANCEL, "13")]


def test_a_job_in_a_state_that_nobody_knows_may_be_the_one_that_serves() -> None:
    first, second = replace(RUNNING, state="SOMETHING_NEW"), replace(RUNNING, id="13")
    memory, _actions = step(Memory(), facts(first, second))
    assert step(memory, facts(first, second, wall=NOW + 20))[1] == [(CANCEL, "13")]


def test_a_stopped_tier_has_its_job_ended_once_and_gets_none() -> None:
    stops = {"fast": Stop("maintenance", "ann", NOW)}
    memory, actions = step(Memory(), facts(RUNNING, stops=stops))
    assert actions == [(CANCEL, "12")]
    memory, actions = step(memory, facts(replace(RUNNING, state="COMPLETING"), wall=NOW + 2, stops=stops))
    assert actions == []
    memory, actions = step(memory, facts(wall=NOW + 40, stops=stops))
    assert actions == [(EXPLAIN, "12")]
    ending = {"12": Ending(state="CANCELLED", by="0", elapsed=800)}
    memory, actions = step(memory, facts(wall=NOW + 41, stops=stops, endings=ending))
    assert actions == []
    tier = tier_rules.report(FAST, memory, facts(wall=NOW + 41, stops=stops))
    assert (tier.state, tier.reason, tier.enabled) == ("stopped", "stopped by ann: maintenance", False)
    # And at once a new one when it is started.
    assert step(memory, facts(wall=NOW + 42))[1] == [(SUBMIT, "")]


def test_a_tier_that_is_not_enabled_loses_only_the_manager_s_own_job() -> None:
    off = replace(FAST, enabled=False)
    assert step(Memory(), facts(), off)[1] == []
    assert step(Memory(), facts(RUNNING), off)[1] == [(CANCEL, "12")]
    assert step(Memory(), facts(replace(RUNNING, comment=NAMED)), off)[1] == [(CANCEL, "12")]
    assert step(Memory(), facts(replace(RUNNING, comment="")), off)[1] == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("launch failed requeued held", "its launch failed, and Slurm holds it"),
        ("launch failure limit exceeded requeued held", OFTEN),
        ("JobHoldMaxRequeue", OFTEN),
    ],
)
@pytest.mark.parametrize("state", ["PENDING", "REQUEUE_HOLD"])
def test_a_job_whose_launch_failed_is_not_left_held_for_ever(reason: str, words: str, state: str) -> None:
    held = replace(PENDING, reason=reason, state=state)
    memory, actions = step(Memory(), facts(held))
    assert actions == [(CANCEL, "12")]
    tier = tier_rules.report(FAST, memory, facts(held))
    assert tier.reason == f"pending: {reason} ({words})"
    assert "journalctl -u slurmd" in tier.advice
    # However long it takes, it has failed once.
    cancels = 0
    for tick in range(100):
        memory, actions = step(memory, facts(held, wall=NOW + 2 * tick))
        cancels += len(actions)
        assert (memory.failures, memory.not_before) == (1, NOW + BACKOFF_S[0])
    assert cancels == 2
    ending = {"12": Ending(state="CANCELLED")}
    memory, actions = step(memory, facts(wall=NOW + 1, endings=ending))
    assert actions == []
    assert "launch" not in memory.job
    assert f"job 12 did not start: {words}" in tier_rules.report(FAST, memory, facts(wall=NOW + 1)).reason
    # The next one that fails is another one.
    memory, actions = step(memory, facts(replace(held, id="13"), wall=NOW + 400))
    assert (actions, memory.failures) == ([(CANCEL, "13")], 2)


def test_a_held_job_that_somebody_else_ends_has_failed_once_too() -> None:
    held = replace(PENDING, reason="JobHoldMaxRequeue")
    memory, _actions = step(Memory(), facts(held))
    # A second job was ended meanwhile.
    memory = replace(memory, cancelled="13")
    memory, _actions = step(memory, facts(wall=NOW + 1, endings={"12": Ending(state="CANCELLED")}))
    assert (memory.failures, memory.not_before, memory.counted) == (1, NOW + BACKOFF_S[0], "")


def test_a_held_job_that_somebody_released_is_judged_by_how_it_ends() -> None:
    memory, _actions = step(Memory(), facts(replace(PENDING, reason="JobHoldMaxRequeue")))
    memory, _actions = step(memory, facts(RUNNING, wall=NOW + 100))
    memory = replace(memory, cancelled="")
    memory, _actions = step(memory, facts(wall=NOW + 200, endings={"12": DIED}))
    assert (memory.failures, memory.why) == (2, tier_rules.explain("12", DIED)[0])


# Jobs that end


def lose(memory: Memory, wall: float, ending: Ending, job: str = "12") -> Memory:
    memory, actions = step(replace(memory, job=job), facts(wall=wall))
    assert actions == [(EXPLAIN, job)]
    return step(memory, facts(wall=wall, endings={job: ending}))[0]


def test_the_pauses_are_those_of_the_inventory() -> None:
    wanted, memory, wall, pauses = replace(FAST, backoff=(3.0, 5.0)), Memory(), NOW, []
    for number in range(4):
        memory = replace(memory, job=str(number))
        memory, _actions = step(memory, facts(wall=wall, endings={str(number): DIED}), wanted)
        pauses.append(memory.not_before - wall)
        wall = memory.not_before + 1
    assert pauses == [3.0, 5.0, 5.0, 5.0]
    # One that somebody cancelled is not among them, and no clock that was set back.
    memory, _actions = step(
        replace(memory, job="9"), facts(wall=wall, endings={"9": Ending(state="CANCELLED")}), wanted
    )
    assert memory.not_before == wall + tier_rules.CANCELLED_S
    assert step(memory, facts(wall=wall + 1), wanted)[0].not_before == memory.not_before


def test_ten_jobs_that_die_at_once_come_less_and_less_often() -> None:
    memory, wall, pauses = Memory(), NOW, []
    for number in range(10):
        memory = lose(memory, wall, DIED, str(100 + number))
        pauses.append(memory.not_before - wall)
        tier = tier_rules.report(FAST, memory, facts(wall=wall))
        assert tier.state == "backing-off"
        assert "head on vasp-02 has ended with status 1" in tier.reason
        assert step(memory, facts(wall=memory.not_before - 1))[1] == []
        wall = memory.not_before + 1
        assert step(memory, facts(wall=wall))[1] == [(SUBMIT, "")]
    assert pauses == [*BACKOFF_S, BACKOFF_S[-1], BACKOFF_S[-1]]
    assert "10 times in a row" in tier.reason
    # One that has served for long enough makes all well.
    ready = replace(ENTRY, started=wall - 700, heartbeat=wall)
    memory, _actions = step(memory, facts(replace(RUNNING, start=wall - 700), wall=wall, endpoints=[ready]))
    assert memory.failures == 0


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
            "ran out of memory after 60 seconds (limit 200G; 210.0 GiB was seen)",
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
def test_how_a_job_ended_decides_when_the_next_one_comes(
    ending: Ending, pause: float, failures: int, words: str
) -> None:
    memory = lose(Memory(), NOW, ending)
    assert (memory.not_before - NOW, memory.failures, memory.job) == (pause, failures, "")
    assert words in memory.why


def test_a_clock_that_is_set_back_does_not_keep_a_tier_away() -> None:
    memory = Memory(not_before=NOW + 86400, why="x", failures=1)
    assert step(memory, facts())[1] == [(SUBMIT, "")]


def test_a_clock_that_is_set_back_after_a_submission_makes_it_sure_a_minute_later() -> None:
    unsure = tier_rules.submitted(FAST, tier_rules.about_to_submit(Memory(), NOW + 86400), NOW + 86400, 124, "", "x")
    lost = tier_rules.submitted(FAST, Memory(), NOW + 86400, 0, "12", "")
    for after in (unsure, lost):
        endings = {"12": Ending("TIMEOUT", elapsed=1e5)}
        memory, actions = step(after, facts(endings=endings))
        # It may still be on its way.
        assert actions == []
        memory, actions = step(memory, facts(wall=NOW + UNSURE_S - 1, endings=endings))
        assert actions == []
        assert step(memory, facts(wall=NOW + UNSURE_S + 1, endings=endings))[1] == [(SUBMIT, "")]


def test_a_clock_that_is_set_back_does_not_keep_a_second_job() -> None:
    second = replace(RUNNING, id="13")
    memory, actions = step(Memory(spare_since=NOW + 86400), facts(RUNNING, second))
    assert actions == []
    assert step(memory, facts(RUNNING, second, wall=NOW + 20))[1] == [(CANCEL, "13")]


@pytest.mark.parametrize("data", [None, [], {"job": 5}, {"failures": "x", "not_before": None}, {"unknown": 1}, "x"])
def test_a_memory_that_is_broken_is_none(data: Any) -> None:
    assert tier_rules.memory_from(data) == Memory()


# What is said


def said(*jobs: Job, memory: Memory | None = None, **more: Any) -> tuple[str, str, int]:
    tier = tier_rules.report(FAST, memory or Memory(), facts(*jobs, **more))
    return tier.state, tier.reason, tier.retry_after_s


@pytest.mark.parametrize(
    ("jobs", "entries", "expected"),
    [
        ([RUNNING], [ENTRY], ("ready", "", 1)),
        ([RUNNING], [replace(ENTRY, state="loading", percent=43, started=NOW - 44)], ("loading", "loading 43 %", 57)),
        ([RUNNING], [replace(ENTRY, state="loading", percent=0, started=NOW - 21)], ("loading", "loading 0 %", 100)),
        # Both times are by a clock that is a day ahead, or behind.
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
        ([replace(PENDING, reason="")], [], ("pending", "pending: not looked at yet", 60)),
        ([replace(PENDING, reason="JobHeldUser")], [], ("stopped", "job 12 is held", 600)),
        ([replace(PENDING, reason="job requeued in held state")], [], ("stopped", "job 12 is held", 600)),
        ([replace(PENDING, reason="None", state="SPECIAL_EXIT")], [], ("stopped", "job 12 is held", 600)),
        ([replace(PENDING, reason="job requeued in held state", state="REQUEUE_HOLD")], [],
         ("stopped", "job 12 is held", 600)),
        ([replace(RUNNING, state="SUSPENDED")], [], ("pending", "job 12 is suspended", 120)),
        ([], [], ("pending", "its job is about to be submitted", 30)),
    ],
)  # fmt: skip
def test_how_a_tier_is(jobs: list[Job], entries: list[Endpoint], expected: tuple[str, str, int]) -> None:
    assert said(*jobs, endpoints=entries) == expected


def test_of_a_job_that_never_shows_up_in_the_registry_people_hear_where_to_look() -> None:
    def advice(started: float) -> str:
        return tier_rules.report(FAST, Memory(load_s=30.0), facts(replace(RUNNING, start=NOW - started))).advice

    assert advice(300) == ""
    assert advice(340) == "it takes long: see ai/logs/12/job.log in the shared directory"


def test_the_gap_between_the_registry_and_the_queue_is_still_draining() -> None:
    assert said(RUNNING, drained={"12": 0})[0] == "draining"
    # Once it has been restarted, it is starting.
    assert said(replace(RUNNING, restarts=1), drained={"12": 0})[0] == "loading"


def test_when_it_is_expected_back() -> None:
    def expected(*jobs: Job) -> float | None:
        return tier_rules.report(FAST, Memory(load_s=20.0), facts(*jobs)).expected

    assert expected(replace(PENDING, reason="BeginTime", start=NOW + 100, restarts=1)) == NOW + 120
    assert expected(replace(PENDING, reason="BeginTime", start=NOW + 100, restarts=1), VASP) == NOW + 3620
    # Slurm's own guess knows more than we do.
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
        ("BadConstraints", "no node is as it wants", "gres"),
        ("SomethingNew", "SomethingNew", ""),
    ],
)
def test_why_a_job_waits_in_words(reason: str, words: str, advice: str) -> None:
    tier = tier_rules.report(FAST, Memory(), facts(replace(PENDING, reason=reason)))
    assert words in tier.reason
    assert advice in tier.advice
    assert tier.pending_reason == reason


def test_what_runs_goes_on_while_slurm_does_not_answer() -> None:
    away = Queue(NOW - 60, (RUNNING,), "Unable to contact slurm controller (connect failure)", NOW - 50)
    found = Facts(NOW, away, [ENTRY])
    assert tier_rules.report(FAST, Memory(job="12"), found).state == "ready"
    tier = tier_rules.report(FAST, Memory(), Facts(NOW, Queue(0.0, (), "refused", NOW)))
    assert (tier.state, tier.retry_after_s) == ("pending", 60)
    assert "Slurm's controller does not answer since" in tier.reason
    view = tier_rules.view([FAST], {}, found, ["x"])
    assert len(view.problems) == 2


def test_a_job_of_the_registry_is_gone_only_if_the_queue_is_newer() -> None:
    def gone(taken: float, *jobs: Job, problem: str = "") -> set[str]:
        return tier_rules.gone_jobs([ENTRY], Queue(taken, jobs, problem), SEEN)

    assert gone(NOW + 1) == {"12"}
    assert gone(NOW + 1, PENDING) == {"12"}
    assert gone(NOW - 51) == set()
    assert gone(NOW + 1, RUNNING) == set()
    assert gone(NOW + 1, replace(RUNNING, state="COMPLETING")) == set()
    assert gone(NOW + 1, problem="silent") == set()


def test_a_job_that_was_requeued_and_runs_again_is_not_gone() -> None:
    """The queue was seen while it waited; then it began, and its entry was there before the queue was seen again."""
    again = replace(ENTRY, started=NOW + 100)
    seen = {**SEEN, tier_rules.run_of(again): NOW + 105}
    assert tier_rules.gone_jobs([again], Queue(NOW + 99, (PENDING,)), seen) == set()
    # Of its former run nothing is left, whatever its file says.
    assert tier_rules.gone_jobs([ENTRY], Queue(NOW + 99, (PENDING,)), seen) == {"12"}
    assert tier_rules.gone_jobs([again], Queue(NOW + 106, (RUNNING,)), seen) == set()
    assert tier_rules.gone_jobs([again], Queue(NOW + 106, (PENDING,)), seen) == {"12"}


def test_how_long_a_load_takes_is_remembered() -> None:
    assert tier_rules.loaded_in(Memory(), replace(ENTRY, started=NOW - 42, heartbeat=NOW)).load_s == 42
    assert tier_rules.loaded_in(Memory(), replace(ENTRY, started=NOW + 42, heartbeat=NOW)) == Memory()


# Whatever happens, there are never two


class Cluster:
    """A Slurm that loses answers, jobs and itself, by a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.wall = NOW
        self.jobs: dict[str, Job] = {}
        self.queue = Queue()
        self.arriving: list[tuple[float, str]] = []
        self.most, self.number, self.submits = 0, 100, 0

    def sbatch(self) -> tuple[int, str, str]:
        self.submits += 1
        self.number += 1
        job, fate = str(self.number), self.dice.random()
        if fate < 0.2:
            return 1, "", "sbatch: error: Batch job submission failed: Unable to contact slurm controller"
        # Slurm may take it a good while after sbatch has given up.
        late = self.dice.uniform(0, 50) if fate < 0.5 else 0.0
        self.arriving.append((self.wall + late, job))
        self.arrive()
        return (0, job, "") if not late else (1, "", "sbatch: error: Socket timed out on send/recv operation")

    def arrive(self) -> None:
        for when, job in list(self.arriving):
            if when <= self.wall:
                self.arriving.remove((when, job))
                self.jobs[job] = replace(PENDING, id=job, comment=tier_rules.comment(FAST))
        self.most = max(self.most, len(self.jobs))

    def look(self) -> None:
        fate = self.dice.random()
        if fate < 0.2:
            self.queue = replace(self.queue, problem="silent", since=self.wall)
        else:
            self.queue = Queue(self.wall, tuple(self.jobs.values()))

    def live(self) -> None:
        for job in list(self.jobs.values()):
            fate = self.dice.random()
            if fate < 0.05:
                del self.jobs[job.id]
            elif fate < 0.5:
                states = ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "POWER_UP_NODE", "UPDATE_DB", "EXPEDITING"]
                name = self.dice.choice([job.name, job.name, "renamed"])
                self.jobs[job.id] = replace(job, state=self.dice.choice(states), name=name)


@pytest.mark.parametrize("seed", range(60))
def test_there_are_never_two_jobs_of_a_tier(seed: int) -> None:
    cluster, memory = Cluster(seed), Memory()
    kept: Any = None
    for _turn in range(400):
        cluster.wall += cluster.dice.uniform(1, 6)
        cluster.arrive()
        cluster.live()
        cluster.look()
        endings = {
            memory.job: cluster.dice.choice([DIED, Ending(), Ending("CANCELLED"), Ending("TIMEOUT", elapsed=1e5)])
        }
        memory, actions = tier_rules.step(FAST, memory, Facts(cluster.wall, cluster.queue, endings=endings))
        for action in actions:
            assert action.kind != CANCEL
            if action.kind == SUBMIT:
                memory = tier_rules.about_to_submit(memory, cluster.wall)
                kept = json.loads(json.dumps(tier_rules.memory_data(memory)))
                status, job, text = cluster.sbatch()
                if cluster.dice.random() < 0.2:
                    # The manager is killed, and begins again with what is on the disk.
                    memory = tier_rules.memory_from(kept)
                else:
                    memory = tier_rules.submitted(FAST, memory, cluster.wall, status, job, text)
    assert cluster.most == 1
    assert cluster.submits > 3


def test_an_action_says_why() -> None:
    _memory, actions = tier_rules.step(FAST, Memory(), facts(RUNNING, stops={"fast": Stop("maintenance")}))
    assert actions == [Action(CANCEL, "fast", "12", "stopped: maintenance")]


# What is outdated

PLANNED = replace(FAST, plan="aaaaaaaa")
OLD, NEW = "herd-tiers tier=fast plan=bbbbbbbb", "herd-tiers tier=fast plan=aaaaaaaa"


def test_the_comment_of_a_job_says_whose_it_is_and_what_it_runs_with() -> None:
    comment = tier_rules.comment(PLANNED)
    assert comment.startswith("herd-tiers")
    assert comment.endswith(" plan=aaaaaaaa")
    assert "plan=" not in tier_rules.comment(FAST)


@pytest.mark.parametrize("comment", [OLD, "herd-tiers", "by hand plan=bbbbbbbb"])
def test_a_job_that_waits_and_is_outdated_is_replaced(comment: str) -> None:
    old = replace(PENDING, comment=comment)
    memory, actions = step(Memory(job="12"), facts(old), PLANNED)
    assert actions == [(CANCEL, "12")]
    assert "job 12 is outdated" in tier_rules.report(PLANNED, memory, facts(old)).advice
    memory, actions = step(memory, facts(wall=NOW + 2, endings={"12": Ending(state="CANCELLED")}), PLANNED)
    assert actions == [(SUBMIT, "")], "at once: nobody has cancelled it but the manager"
    memory = tier_rules.submitted(PLANNED, memory, NOW + 2, 0, "13", "13")
    # Even where the site has its own words as a comment.
    for found in (NEW, "project 7", "herd-tiers"):
        new = replace(PENDING, id="13", comment=found)
        assert step(memory, facts(new, wall=NOW + 4), PLANNED)[1] == []
        assert "outdated" not in tier_rules.report(PLANNED, memory, facts(new)).advice


@pytest.mark.parametrize(
    "job",
    [
        replace(PENDING, comment=NEW),
        replace(PENDING, comment="somebody's own"),
        # Somebody holds it, and would not be asked by another one.
        replace(PENDING, comment=OLD, reason="JobHeldUser"),
        replace(PENDING, comment=OLD, reason="job requeued in held state", state="REQUEUE_HOLD"),
        replace(PENDING, comment=OLD, reason="job requeued in held state"),
        replace(RUNNING, comment=NEW),
        replace(RUNNING, comment="", state="COMPLETING"),
    ],
)
def test_what_is_not_replaced(job: Job) -> None:
    assert step(Memory(job="12"), facts(job, endpoints=[ENTRY]), PLANNED)[1] == []


def test_a_job_that_serves_and_is_outdated_is_asked_to_make_way_and_not_ended() -> None:
    old = replace(RUNNING, comment=OLD)
    # While it starts nobody knows whether it has its handlers yet.
    memory, actions = step(Memory(job="12"), facts(old), PLANNED)
    assert actions == []
    memory, actions = step(memory, facts(old, endpoints=[ENTRY]), PLANNED)
    assert actions == [(RENEW, "12")]
    report = tier_rules.report(PLANNED, memory, facts(old, endpoints=[ENTRY]))
    assert report.state == "ready"
    assert "job 12 is outdated" in report.advice
    assert "in a quiet moment" in report.advice
    assert step(memory, facts(old, wall=NOW + 60, endpoints=[ENTRY]), PLANNED)[1] == []
    assert step(memory, facts(old, wall=NOW + 700, endpoints=[ENTRY]), PLANNED)[1] == [(RENEW, "12")]
    # It has requeued itself.
    assert step(memory, facts(replace(PENDING, comment=OLD), wall=NOW + 60), PLANNED)[1] == [(CANCEL, "12")]


def test_a_job_that_began_after_another_one_was_asked_is_asked_itself() -> None:
    """An inventory is changed more than once in ten minutes, and a job that was asked is requeued by others."""
    old = replace(RUNNING, comment=OLD)
    assert old.start
    before, since = Memory(job="12", renewed_at=old.start - 5), Memory(job="12", renewed_at=old.start + 5)
    assert step(before, facts(old, wall=old.start + 60, endpoints=[ENTRY]), PLANNED)[1] == [(RENEW, "12")]
    assert step(since, facts(old, wall=old.start + 60, endpoints=[ENTRY]), PLANNED)[1] == []


def test_a_job_of_an_older_version_is_left_until_it_waits() -> None:
    """Its runtime does not know the signal, and would end in the middle of its answers."""
    old = replace(RUNNING, comment="herd-tiers")
    assert step(Memory(job="12"), facts(old, endpoints=[ENTRY]), PLANNED)[1] == []
    assert "when it is requeued" in tier_rules.report(PLANNED, Memory(job="12"), facts(old)).advice


def test_an_outdated_job_is_no_reason_to_keep_a_second_one() -> None:
    old, second = replace(RUNNING, comment=OLD), replace(PENDING, id="13", comment=NEW)
    memory = Memory(job="12", renewed_at=NOW - 5)
    assert step(memory, facts(old, second, endpoints=[ENTRY]), PLANNED)[1] == [(CANCEL, "13")]


def test_without_a_mark_in_the_configuration_nothing_is_outdated() -> None:
    assert step(Memory(job="12"), facts(replace(PENDING, comment=OLD)))[1] == []


@pytest.mark.parametrize(
    ("job", "entries", "is_said"), [(PENDING, [], True), (RUNNING, [ENTRY], False), (RUNNING, [], False)]
)
def test_a_tier_that_waits_says_with_which_one_it_takes_turns(job: Job, entries: list[Endpoint], is_said: bool) -> None:
    wanted = replace(FAST, crowded="fast and reasoning never serve at the same time")
    report = tier_rules.report(wanted, Memory(job="12"), facts(job, endpoints=entries))
    assert ("never serve at the same time" in report.advice) is is_said
