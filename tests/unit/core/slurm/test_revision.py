# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that run with what the inventory said before."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import queue as slurm_queue
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import revision as job_revision
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.revision import Moment


def test_a_mark_is_of_what_is_said_and_not_of_its_order() -> None:
    first = job_revision.mark({"a": 1, "b": {"c": 2, "d": 3}}, {"memory": "200G"})
    assert job_revision.mark({"b": {"d": 3, "c": 2}, "a": 1}, {"memory": "200G"}) == first
    assert job_revision.mark({"a": 1, "b": {"c": 2, "d": 3}}, {"memory": "100G"}) != first
    assert job_revision.mark({"a": 1, "b": {"c": 2, "d": 4}}, {"memory": "200G"}) != first


def test_the_mark_is_read_back_from_a_comment_that_fits_into_its_column() -> None:
    text = job_revision.comment(f"herd-tiers tier={'x' * 32}", job_revision.mark({}, {}))
    width = dict(slurm_queue._COLUMNS)["Comment"]
    assert job_revision.plan_of(text[:width].strip()) == job_revision.mark({}, {})
    assert job_revision.comment("herd-tiers", "") == "herd-tiers"


@pytest.mark.parametrize(
    ("plan", "text", "is_managed", "submitted", "expected"),
    [
        ("aa", "herd-tiers tier=fast plan=aa", True, "", False),
        ("aa", "herd-tiers tier=fast plan=bb", True, "", True),
        # Of an older version of the manager.
        ("aa", "herd-tiers", True, "", True),
        # By hand: with the script of now, with an older one, and with a comment of somebody's own.
        ("aa", "by hand plan=aa", False, "", False),
        ("aa", "by hand plan=bb", False, "", True),
        ("aa", "mine", False, "", False),
        ("aa", "", False, "", False),
        # A site that rewrites comments: what the manager itself submitted is not replaced again and again.
        ("aa", "project 7", False, "aa", False),
        ("aa", "herd-tiers plan=cc", True, "aa", False),
        ("aa", "project 7", False, "bb", True),
        # A configuration of an older version.
        ("", "herd-tiers plan=bb", True, "bb", False),
    ],
)
def test_which_job_is_outdated(plan: str, text: str, is_managed: bool, submitted: str, expected: bool) -> None:
    assert job_revision.is_outdated(plan, text, is_managed, submitted) is expected


def test_only_a_runtime_that_knows_the_signal_is_sent_it() -> None:
    assert job_revision.may_be_asked("herd-tiers tier=fast plan=aa")
    assert not job_revision.may_be_asked("herd-tiers")


def test_a_quiet_moment_is_waited_for_and_never_forced() -> None:
    moment = Moment()
    assert not any(moment.is_now(float(second), 1) for second in range(0, 100_000, 50))
    assert not moment.is_now(100_000, 0)
    assert not moment.is_now(100_009, 0)
    # Nobody knows what runs.
    assert not moment.is_now(100_009.5, None)
    assert not moment.is_now(100_010, 0)
    assert moment.is_now(100_020, 0)


@pytest.mark.parametrize(
    ("is_running", "is_asked", "words"),
    [(False, False, "another one follows"), (True, True, "in a quiet moment"), (True, False, "when it is requeued")],
)
def test_it_is_said_what_becomes_of_it(is_running: bool, is_asked: bool, words: str) -> None:
    said = job_revision.in_words("12", is_running, is_asked)
    assert said.startswith("job 12 is outdated")
    assert words in said
