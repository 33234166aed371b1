# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import queue as slurm_queue
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending, Job

FIXTURES = Path(__file__).parents[3] / "fixtures" / "slurm"
# Of Slurm 22.05, with SLURM_TIME_FORMAT=%s.
SACCT = (FIXTURES / "sacct-22.05.txt").read_text(encoding="utf-8")
REQUEUED = (FIXTURES / "sacct-requeued-22.05.txt").read_text(encoding="utf-8")


SQUEUE = (FIXTURES / "squeue-22.05.txt").read_bytes()


def queue() -> list[Job]:
    return slurm_queue.parse_queue(SQUEUE)


def test_pending_jobs_are_parsed() -> None:
    waits, other, over = queue()[0], queue()[1], queue()[2]
    assert waits == Job(
        id="38", name="llama-72b", user="llama", state="PENDING", reason="BeginTime", restarts=2,
        start=waits.start, end=waits.end, nodes=("vasp-01", "vasp-02", "vasp-03"),
        qos="ai_opportunistic", comment="herd-tiers",
    )  # fmt: skip
    assert waits.start is not None
    assert waits.start > 1795266500
    assert waits.is_pending
    assert waits.is_live
    assert (other.id, other.nodes) == ("37", ("vasp-02",))
    assert (over.name, over.state, over.is_live, over.qos) == ("vasp", "COMPLETED", False, "vasp_priority")


def test_running_jobs_are_parsed() -> None:
    found = [job for job in queue() if job.state == "RUNNING"]
    assert found
    assert all(job.is_running and job.start and job.end and job.nodes and not job.reason for job in found)


@pytest.mark.parametrize(
    "printed",
    [
        b"slurm_load_jobs error: Unable to contact slurm controller",
        b"x" * 3000,
        b"12_[1-4]",
        b"12",
        "\u00b2".encode() + b" " * 2000,
        b"\xff" * 2000,
        # Columns of another width.
        b"".join(line[:24] + b" " + line[24:] for line in SQUEUE.splitlines(keepends=True)),
    ],
)
def test_output_without_jobs_is_refused(printed: bytes) -> None:
    """An empty queue would cause a second job of every tier."""
    with pytest.raises(ValueError, match="squeue printed no jobs but"):
        slurm_queue.parse_queue(printed)


@pytest.mark.parametrize("printed", [b"", b"\n\n", b"  \n"])
def test_an_empty_queue_has_no_jobs(printed: bytes) -> None:
    assert slurm_queue.parse_queue(printed) == []


@pytest.mark.parametrize("comment", ["x\n2024", "\n12", "a\n12 \n13", "x\n" + "9" * 20 + "\n"])
def test_newline_in_a_comment_hides_no_other_job(comment: str) -> None:
    lines = [line.rstrip(b"\n") for line in SQUEUE.splitlines()]
    at = sum((24, 64, 40, 20, 160, 8, 24, 24, 24, 512, 512, 64, 64, 12))
    others = [line[:at] + comment.encode() for line in lines]
    # A normal job follows each of them.
    mixed = [line for pair in zip(others, lines, strict=True) for line in pair]
    found = slurm_queue.parse_queue(b"\n".join(mixed))
    assert found[1::2] == queue()
    assert [job.id for job in found[::2]] == [job.id for job in queue()]


def test_other_time_format_moves_no_column() -> None:
    text = SQUEUE.replace(b"1795266500", b"2026-11-21")
    assert [job.id for job in slurm_queue.parse_queue(text)] == [job.id for job in queue()]


def renamed(line: bytes, name: bytes) -> bytes:
    """Format a job of this name as squeue does: it counts bytes, and may cut a character."""
    return line[:24] + name[:64].ljust(64) + line[88:]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("\u00dcbergangszust\u00e4nde", "\u00dcbergangszust\u00e4nde"),
        ("\u00e4" * 40, "\u00e4" * 32),
        (f"a{chr(0xE4) * 40}", f"a{chr(0xE4) * 31}\ufffd"),
        ("first\nsecond", "first\nsecond"),
        ("12\n13", "12\n13"),
        ("\n", ""),
        ("12\n13\n14", "12\n13\n14"),
        ("a\x0bb\x85c\u2028d\re", "a\x0bb\x85c\u2028d\re"),
    ],
)
def test_any_job_name_moves_no_column(name: str, read: str) -> None:
    lines = SQUEUE.splitlines(keepends=True)
    found = slurm_queue.parse_queue(b"".join([*lines[:2], renamed(lines[2], name.encode()), *lines[3:]]))
    expected = queue()
    expected[2] = replace(expected[2], name=read)
    assert found == expected
    assert found[2].qos == "vasp_priority"


@pytest.mark.parametrize(
    ("number", "expected"), [("37", 37), ("37_4", 37), ("37_[1-9%2]", 37), ("37+0", 37), ("37+12", 37)]
)
def test_array_members_and_job_parts_are_jobs(number: str, expected: int) -> None:
    line = SQUEUE.splitlines(keepends=True)[2]
    (job,) = slurm_queue.parse_queue(number.ljust(24).encode() + line[24:])
    assert (job.id, job.number, job.qos) == (number, expected, "vasp_priority")


@pytest.mark.parametrize(
    "state",
    [
        "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "EXPEDITING", "LAUNCH_FAILED", "POWER_UP_NODE",
        "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "REVOKED", "SIGNALING",
        "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "UPDATE_DB", "SOMETHING_NEW", "",
    ],
)  # fmt: skip
def test_job_in_any_other_state_is_live(state: str) -> None:
    assert Job("1", "a", "b", state).is_live


@pytest.mark.parametrize(
    "state",
    [
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "TIMEOUT",
    ],
)  # fmt: skip
def test_ended_job_is_not_live(state: str) -> None:
    job = Job("1", "a", "b", state)
    assert not (job.is_live or job.is_running or job.is_pending)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("(null)", ()),
        ("None assigned", ()),
        ("vasp-02", ("vasp-02",)),
        ("vasp-[01-03]", ("vasp-01", "vasp-02", "vasp-03")),
        ("vasp-[01,03],ctl", ("vasp-01", "vasp-03", "ctl")),
        ("r[1-2]n[08-10]", ("r1n08", "r1n09", "r1n10", "r2n08", "r2n09", "r2n10")),
        ("a[9-11]x", ("a9x", "a10x", "a11x")),
        ("a[1-x],b", ("a1-x", "b")),
    ],
)
def test_host_lists_are_expanded(text: str, expected: tuple[str, ...]) -> None:
    assert slurm_queue.hosts(text) == expected


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("24", Ending("CANCELLED", "0", 0, 0, 4, "1-00:00:00", 218888 << 10, "3G", "vasp-[01-03]")),
        ("28", Ending("CANCELLED", "0", 0, 0, 0, "00:02:00", 0, "2G", "")),
        ("29", Ending("FAILED", "", 1, 0, 45, "1-00:00:00", 46992 << 10, "3G", "vasp-[01-03]")),
        ("33", Ending("FAILED", "", 0, 9, 6, "1-00:00:00", 219864 << 10, "3G", "vasp-[01-03]")),
        ("34", Ending("FAILED", "", 1, 0, 49, "1-00:00:00", 48758784, "3G", "vasp-[01-03]")),
        ("3", Ending()),
        ("99", Ending()),
    ],
)
def test_end_of_a_job_is_read_from_accounting(job: str, expected: Ending) -> None:
    assert slurm_queue.parse_ending(SACCT, job) == expected


def test_last_run_of_a_requeued_job_counts() -> None:
    assert slurm_queue.parse_ending(REQUEUED, "37").state == "CANCELLED"
    assert slurm_queue.parse_ending(REQUEUED, "38").state == "RUNNING"


@pytest.mark.parametrize("step", ["34.9|COMPLETED|0:0", "34.11|FAILED|1:0", "34.batch|FAILED|1:0"])
@pytest.mark.parametrize("state", ["FAILED", "COMPLETED"])
def test_step_without_memory_explains_a_failed_job(step: str, state: str) -> None:
    text = SACCT.replace(step, f"{step.partition('|')[0]}|OUT_OF_MEMORY|0:125").replace("34|FAILED", f"34|{state}")
    assert slurm_queue.parse_ending(text, "34").state == "OUT_OF_MEMORY"


@pytest.mark.parametrize("step", ["34.2|FAILED|1:0", "34.0|COMPLETED|0:0", "34.8|FAILED|1:0", "34.6|COMPLETED|0:0"])
def test_step_of_an_earlier_group_does_not_explain_the_end(step: str) -> None:
    text = SACCT.replace(step, f"{step.partition('|')[0]}|OUT_OF_MEMORY|0:125")
    assert slurm_queue.parse_ending(text, "34").state == "FAILED"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("CANCELLED by 0", "CANCELLED"), ("TIMEOUT", "TIMEOUT"), ("PREEMPTED", "PREEMPTED"),
        ("NODE_FAIL", "NODE_FAIL"), ("REQUEUED", "REQUEUED"),
    ],
)  # fmt: skip
def test_other_state_of_slurm_overrides_a_step_without_memory(said: str, state: str) -> None:
    text = SACCT.replace("34.11|FAILED|1:0", "34.11|OUT_OF_MEMORY|0:125").replace("34|FAILED", f"34|{said}")
    assert slurm_queue.parse_ending(text, "34").state == state


@pytest.mark.parametrize("text", ["", "x", "|||", "12|", "12|FAILED|1:0", "12.batch|FAILED|1:0|1|||5K|n"])
def test_missing_accounting_gives_an_unknown_end(text: str) -> None:
    assert slurm_queue.parse_ending(text, "12") == Ending()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "2026-11-21 12:46:57 lost: head on vasp-01 has ended with status 1\n"
            "2026-11-21 12:47:00 giving up after 4 failures within 600 seconds\n",
            "head on vasp-01 has ended with status 1",
        ),
        (
            "herdctl job: expected to run as llama, found root: submit it as that user.\n",
            "herdctl job: expected to run as llama, found root: submit it as that user.",
        ),
        ("slurmstepd: error: *** JOB 12 CANCELLED ***\nbye\n", "slurmstepd: error: *** JOB 12 CANCELLED ***"),
        ("broken\n\n", "broken"),
        ("", ""),
    ],
)
def test_last_message_of_a_log_explains_the_end(text: str, expected: str) -> None:
    assert slurm_queue.last_message(text) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:10", 1810),
        ("00:00:30", 30),
        ("12:00:01", 43201),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("7-00:00:00", 604800),
    ],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert slurm_queue.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1d", "UNLIMITED", "1:2:3:4"])
def test_invalid_lengths_of_time_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        slurm_queue.seconds(text)
