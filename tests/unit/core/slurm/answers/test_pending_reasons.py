# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reasons are those that Slurm's source names (src/common/job_state_reason.c, 22.05 to 25.05)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm.pending_reasons import explain

FIXTURES = Path(__file__).parents[4] / "fixtures" / "slurm"
#: Reasons of a job that has ended or of a federation, which no pending job of ours has.
ELSEWHERE = {
    "SystemFailure", "JobLaunchFailure", "NonZeroExitCode", "RaisedSignal", "TimeLimit", "InactiveLimit", "DeadLine",
    "OutOfMemory", "FedJobLock", "None", "Constraints",
}  # fmt: skip


def reasons(name: str) -> list[str]:
    lines = (FIXTURES / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


LIMITS, OTHERS = reasons("pending-limits.txt"), reasons("pending-reasons.txt")


@pytest.mark.parametrize("reason", [*LIMITS, *OTHERS])
def test_each_reason_of_slurm_has_words(reason: str) -> None:
    assert explain(reason).text
    assert explain(reason.lower()) == explain(reason)


@pytest.mark.parametrize("reason", LIMITS)
def test_each_limit_names_what_is_limited_and_where_to_see_it(reason: str) -> None:
    found = explain(reason)
    assert found.kind in ("limit", "never")
    assert found.text.startswith(("a limit of its QoS is reached: ", "a limit of its account is reached: "))
    assert "sacctmgr show" in found.advice
    assert "sacctmgr show" in found.tier_advice


@pytest.mark.parametrize(
    ("reason", "words", "starts_by_itself"),
    [
        ("AssocGrpGRES", "all jobs of the account together use all GPUs that they may", True),
        ("QOSMaxGRESPerUser", "your jobs use all GPUs that they may", True),
        ("QOSMaxWallDurationPerJobLimit", "it requests more time than the QoS allows a job", False),
        ("AssocGrpCPUMinutesLimit", "the budget of CPUs is used up", True),
        ("QOSGrpGRESRunMinutes", "running jobs have reserved the budget of GPUs", True),
        ("QOSMinGRES", "the QoS requires more GPUs", False),
        ("MaxGRESPerAccount", "all jobs of the QoS together use all GPUs that they may", True),
        ("PartitionTimeLimit", "its time limit is longer than the partition's", False),
        ("AccountNotAllowed", "its account may not use this partition", False),
        ("ReqNodeNotAvail, UnavailableNodes:c[1-4]", "a node is down, drained or reserved", True),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
         "a node is down, drained or reserved", True),
        ("JobHeldUser", "it is held", False),
        ("DependencyNeverSatisfied", "it depends on a job that failed or was cancelled", False),
    ],
)  # fmt: skip
def test_words_say_whether_waiting_is_enough(reason: str, words: str, starts_by_itself: bool) -> None:
    found = explain(reason)
    assert words in found.text
    assert found.starts_by_itself is starts_by_itself


@pytest.mark.parametrize("reason", ["", "None", "SomethingNew", *sorted(ELSEWHERE)])
def test_unknown_reason_has_no_words(reason: str) -> None:
    assert explain(reason).text == ""
