# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of jobs' logs in time. Local time is UTC here."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import job_log

FIXTURES = Path(__file__).parents[3] / "fixtures"
NOON = calendar.timegm((2026, 11, 30, 12, 0, 0))
TODAY = (2026, 11, 30)


def local(parts: Sequence[int]) -> float:
    year, month, day, hour, minute, second = parts
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()


def timed(text: str, changed: float = NOON) -> list[tuple[float, str]]:
    return [(time - NOON, line) for time, line in job_log.timed(text, changed, 2026, local)]


def test_lines_of_a_jobs_runtime_have_their_local_time() -> None:
    text = "srun: warning\n2026-11-30 11:59:50 ready after 3 seconds\n  a detail\n2026-11-30 11:59:59 requeued\n"
    assert [time for time, _line in timed(text)] == [-10, -10, -10, -1]


def test_lines_of_an_engine_end_when_its_file_was_last_changed() -> None:
    text = "0.00.100.000 I srv  init\n0.10.000.000 I srv  ready\nmore of it\n1.40.500.000 W srv  slow\n"
    assert [round(time, 3) for time, _line in timed(text)] == [-100.4, -90.5, -90.5, 0]


def test_engine_that_was_started_again_begins_at_zero() -> None:
    text = "0.01.000.000 I srv  one\n0.05.000.000 I srv  two\n0.00.000.000 I srv  one\n0.02.000.000 I srv  two\n"
    assert [time for time, _line in timed(text)] == [-6, -2, -2, 0]


def test_lines_of_vllm_have_no_year() -> None:
    text = "0: (APIServer pid=811) INFO 11-30 11:59:02 [utils.py:253] args\n1: (Main pid=2) INFO 12-03 23:00:00 [x] y\n"
    found = timed(text)
    # A day that has not come yet was that of the year before.
    assert [time for time, _line in found] == [-58, calendar.timegm((2025, 12, 3, 23, 0, 0)) - NOON]


@pytest.mark.parametrize(
    "path",
    [FIXTURES / "head_log" / "0c1e57098-two-workers.log", FIXTURES / "vllm" / "start-two-nodes-gpu.log"],
    ids=lambda path: path.name,
)
def test_times_of_captured_logs_do_not_go_back(path: Path) -> None:
    found = [time for time, _line in timed(path.read_text(encoding="utf-8", errors="replace"))]
    assert found == sorted(found)
    assert len(set(found)) > 10


@pytest.mark.parametrize(
    "text", ["", "9999-99-99 99:99:99 x", "99999999.00.000.000 I x", "\x00" * 50, "INFO 13-45 25:61:61"]
)
def test_any_text_has_times(text: str) -> None:
    assert len(timed(text)) == len(text.splitlines())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("-15min", -900),
        ("-1h", -3600),
        ("-1h 30min", -5400),
        ("2 days ago", -172800),
        ("+5s", 5),
        ("now", 0),
        ("today", -43200),
        ("yesterday", -129600),
        ("2026-11-30 10:05", -6900),
        ("2026-11-30", -43200),
        ("11:30:30", -1770),
        (f"@{NOON}", 0),
    ],
)
def test_window_is_read_as_journalctl_reads_it(text: str, seconds: float) -> None:
    assert job_log.moment(text, NOON, TODAY, local) - NOON == seconds


@pytest.mark.parametrize("text", ["", "soon", "15", "-5 parsecs", "2026-13-45 10:00", "@", "10:5", "-"])
def test_other_text_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInputError, match="such as -15min"):
        job_log.moment(text, NOON, TODAY, local)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("41/head.log", "job-41/head"),
        ("41/rpc-vasp-03.log", "job-41/rpc-vasp-03"),
        ("slurm-41.out", "job-41/slurm"),
        ("coder_30b_41.out", "job-41/coder_30b"),
        ("41/tier.json", ""),
        ("notes.txt", ""),
        ("other/head.log", ""),
    ],
)
def test_log_of_a_job_has_the_name_of_a_unit(path: str, unit: str) -> None:
    assert job_log.unit_of(path) == unit


def test_logs_are_chosen_by_job_and_name() -> None:
    for wanted in ([], ["jobs"], ["job-41"], ["head", "job-41/head"]):
        assert job_log.is_wanted("job-41/head", wanted)
    for wanted in (["job-4"], ["job-41/job"], ["head"]):
        assert not job_log.is_wanted("job-41/head", wanted)
    assert all(map(job_log.is_job, ("jobs", "job-41", "job-41/head")))
    assert not any(map(job_log.is_job, ("head", "job-x", "job-41/../x")))


def test_only_lines_of_the_window_are_records() -> None:
    found = job_log.records("job-41/job", [(1.0, "a"), (2.0, "b"), (3.0, "c")], 1.5, 2.5)
    assert list(found) == [{"time": 2_000_000, "unit": "job-41/job", "text": "b"}]
