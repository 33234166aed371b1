# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of sbatch 22.05.8, and errors in the words of Slurm's src/common/slurm_errno.c."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import submission

TO_START = (
    "sbatch: Job 4 to start at 2026-11-29T17:53:18 using 2 processors on nodes vasp-[01-02] in partition gpu_vasp\n"
)


def test_expected_start_is_read_from_a_test() -> None:
    expected = submission.StartEstimate("2026-11-29T17:53:18", "vasp-[01-02]", "gpu_vasp")
    assert submission.parse_test_only(TO_START) == expected
    assert submission.parse_test_only("sbatch: Job 4 to start at 1795266621 using 8 processors\n") == (
        submission.StartEstimate("1795266621")
    )


@pytest.mark.parametrize(
    ("said", "name", "cure", "is_temporary"),
    [
        ("Invalid account or account/partition combination specified", "account", "slurm.account", False),
        ("Invalid partition name specified", "partition", "slurm.partition", False),
        ("Invalid qos specification", "qos", "QoS", False),
        ("Requested node configuration is not available", "resources", "gpus", False),
        ("Invalid feature specification", "constraint", "sinfo", False),
        (
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "limit",
            "squeue",
            True,
        ),
        ("Requested time limit is invalid (missing or exceeds some limit)", "time", "slurm.time_default", False),
        ("User's group not permitted to use this partition", "partition", "slurm.partition", False),
        ("Memory required by task is not available", "resources", "slurm.mem_per_gpu", False),
        ("Unable to contact slurm controller (connect failure)", "slurm", "scontrol ping", True),
        ("Something that nobody has seen", "refused", "support", False),
    ],
)
@pytest.mark.parametrize("before", ["sbatch: error: Batch job submission failed: ", "allocation failure: "])
def test_refusal_says_what_to_change(said: str, name: str, cure: str, is_temporary: bool, before: str) -> None:
    found = submission.parse_test_only(f"{before}{said}\n")
    assert isinstance(found, submission.Refusal)
    assert (found.name, found.said, found.is_temporary) == (name, said, is_temporary)
    assert cure in found.cure


def test_first_words_of_a_site_do_not_hide_the_refusal() -> None:
    printed = "sbatch: INFO: see https://doc.example/gpu\nsbatch: error: Invalid partition name specified\n"
    found = submission.parse_refusal(printed)
    assert found is not None
    assert found.name == "partition"


@pytest.mark.parametrize(
    ("printed", "number"),
    [("4711\n", "4711"), ("4711;capella\n", "4711"), ("Submitted batch job 12\n", "12"), ("", ""), ("error\n", "")],
)
def test_number_of_a_submitted_job_is_read(printed: str, number: str) -> None:
    assert submission.parse_job_number(printed) == number


@pytest.mark.parametrize("printed", ["", "sbatch: Warning: can't honor --ntasks-per-node\n"])
def test_answer_without_a_start_or_an_error_is_neither(printed: str) -> None:
    assert submission.parse_test_only(printed) is None
