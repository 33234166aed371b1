# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a tier's job may stop, and when it must."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import drain as job_drain
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.drain import IdleWindow
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.job_spec import Timing

# As scontrol of Slurm 22.05 prints it, its other lines left out.
RUNS = """JobId=12 JobName=llama-72b
   UserId=llama(990) GroupId=llama(990) MCS_label=N/A
   JobState=RUNNING Reason=None Dependency=(null)
   RunTime=00:01:40 TimeLimit=1-00:00:00 TimeMin=N/A
   SubmitTime=1795000000 EligibleTime=1795000000
   StartTime=1795000000 EndTime={end} Deadline=N/A
   PreemptEligibleTime=1795000000 PreemptTime={preempted}
   SuspendTime=None SecsPreSuspend=0 LastSchedEval=1795000000 Scheduler=Main
"""
START = 1795000000.0


def times(end: int = 86400, preempted: int | None = None) -> job_drain.SlurmJobTimes:
    said = "None" if preempted is None else str(int(START) + preempted)
    return job_drain.parse_job_times(RUNS.format(end=int(START) + end, preempted=said))


def test_running_job_is_not_preempted() -> None:
    assert times() == job_drain.SlurmJobTimes("RUNNING", START, START + 86400, None)
    assert not times().is_preempted


def test_grace_of_a_preempted_job() -> None:
    found = times(end=130, preempted=100)
    assert found.is_preempted
    # Noticed at once.
    assert found.grace(START + 100, 1.0) == 30
    # Noticed four seconds later, with a question every five seconds.
    assert found.grace(START + 104, 5.0) == 26
    # A clock that is a minute ahead shortens nothing.
    assert found.grace(START + 160, 5.0) == 25
    # A clock that is behind adds nothing.
    assert found.grace(START + 40, 5.0) == 30


def test_preemption_of_an_earlier_run_does_not_count() -> None:
    assert not times(preempted=-500).is_preempted


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error: Invalid job id specified", "StartTime=Unknown EndTime="])
def test_output_without_times_gives_no_times(text: str) -> None:
    assert job_drain.parse_job_times(text) == job_drain.SlurmJobTimes()
    assert not job_drain.parse_job_times(text).is_preempted


def drained(busy: list[int | None], grace: float = 30.0) -> float:
    """Return when a drain that begins at 0 stops; busy has a count for every half second, and the last one repeats."""
    timing = Timing(grace=grace)
    rule = job_drain.Drain(0.0, job_drain.grace_until(timing, 0.0), timing.settle)
    for look in range(1000):
        now = look * 0.5
        if rule.may_stop(now, busy[min(look, len(busy) - 1)], now):
            return now
    raise AssertionError("it never stops")


@pytest.mark.parametrize(
    ("busy", "stops"),
    [
        # An idle tier waits only until the gateway sends no more requests.
        ([0], 3.5),
        # A request in that time is waited for.
        ([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0], 5.5),
        # A request that does not end is cut, with time left for stopping.
        ([2], 24.0),
        ([None], 24.0),
        # One count without a request is not enough.
        ([1] * 8 + [0] + [1] * 8 + [0], 9.0),
    ],
)
def test_drain_ends_without_requests_or_after_the_grace(busy: list[int | None], stops: float) -> None:
    assert drained(busy) == stops


def test_drain_needs_two_counts_without_a_request() -> None:
    rule = job_drain.Drain(0.0, 24.0, 3.0)
    assert not rule.may_stop(5.0, 0, seen=4.0)
    assert not rule.may_stop(7.0, 0, seen=4.0)
    assert rule.may_stop(7.5, 0, seen=7.0)


def test_idle_window_opens_after_ten_seconds_without_a_request() -> None:
    window = IdleWindow()
    assert not any(window.is_open(float(second), 1) for second in range(0, 100_000, 50))
    assert not window.is_open(100_000, 0)
    assert not window.is_open(100_009, 0)
    # The number of running requests is unknown.
    assert not window.is_open(100_009.5, None)
    assert not window.is_open(100_010, 0)
    assert window.is_open(100_020, 0)


@pytest.mark.parametrize(("left", "until"), [(None, 124.0), (90.0, 124.0), (20.0, 114.0), (3.0, 101.0), (-9.0, 101.0)])
def test_shorter_grace_of_slurm_applies(left: float | None, until: float) -> None:
    assert job_drain.grace_until(Timing(grace=30), 100.0, left) == until


def test_renewal_waits_for_an_idle_window() -> None:
    timing = Timing(grace=30, renew_before=600)
    renewal = job_drain.renewal_for(timing, 100.0)
    assert not renewal.reason(100.0, 1)
    assert not renewal.reason(101.0, 0)
    assert not renewal.reason(105.0, 1)
    assert not renewal.reason(106.0, None)
    assert not renewal.reason(107.0, 0)
    assert "no request runs" in renewal.reason(117.0, 0)


def test_requests_have_half_of_the_time_without_an_idle_window() -> None:
    timing = Timing(grace=30, renew_before=600)
    renewal = job_drain.renewal_for(timing, 100.0)
    assert not renewal.reason(354.0, 3)
    assert "there was no idle window" in renewal.reason(355.0, 3)
    # Slurm's lateness and the grace are left.
    assert renewal.drain_until(timing, 355.0) == 610.0


@pytest.mark.parametrize(
    ("left", "due", "until"),
    [
        (1800.0, 977.5, 1855.0),
        # Submitted by hand with a limit of two minutes.
        (60.0, 112.0, 115.0),
        (20.0, 100.0, 100.0),
    ],
)
def test_renewal_uses_the_time_limit_of_slurm(left: float, due: float, until: float) -> None:
    timing = Timing(grace=30, renew_before=600)
    renewal = job_drain.renewal_for(timing, 100.0)
    renewal.limit(timing, 100.0, left)
    assert (renewal.due, renewal.until) == (due, until)


def test_late_renewal_keeps_the_grace() -> None:
    timing = Timing(grace=30, renew_before=90)
    assert job_drain.renewal_for(timing, 100.0).drain_until(timing, 100.0) == 124.0
