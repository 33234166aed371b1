# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that were submitted before their tier was changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import queue as slurm_queue
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import revision as job_revision
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_state
from tests.unit.core.slurm.tiers import FAST


def test_fingerprint_depends_on_values_and_not_on_their_order() -> None:
    first = job_revision.fingerprint({"a": 1, "b": {"c": 2, "d": 3}}, {"memory": "200G"})
    assert job_revision.fingerprint({"b": {"d": 3, "c": 2}, "a": 1}, {"memory": "200G"}) == first
    assert job_revision.fingerprint({"a": 1, "b": {"c": 2, "d": 3}}, {"memory": "100G"}) != first
    assert job_revision.fingerprint({"a": 1, "b": {"c": 2, "d": 4}}, {"memory": "200G"}) != first


def test_comment_with_fingerprint_fits_into_its_column() -> None:
    spec = replace(FAST, name="x" * 32, fingerprint=job_revision.fingerprint({}, {}))
    text = tier_state.comment(spec)
    width = dict(slurm_queue._COLUMNS)["Comment"]
    assert job_revision.fingerprint_in(text[:width].strip()) == job_revision.fingerprint({}, {})
    assert tier_state.comment(FAST) == "herd-tiers tier=fast"


@pytest.mark.parametrize(
    ("current", "text", "is_managed", "submitted", "expected"),
    [
        ("aa", "herd-tiers tier=fast fingerprint=aa", True, "", False),
        ("aa", "herd-tiers tier=fast fingerprint=bb", True, "", True),
        # Without a fingerprint.
        ("aa", "herd-tiers", True, "", True),
        # By hand: with the current script, with an older one, and with another comment.
        ("aa", "by hand fingerprint=aa", False, "", False),
        ("aa", "by hand fingerprint=bb", False, "", True),
        ("aa", "mine", False, "", False),
        ("aa", "", False, "", False),
        # A site that rewrites comments. The manager does not replace its own job again and again.
        ("aa", "project 7", False, "aa", False),
        ("aa", "herd-tiers fingerprint=cc", True, "aa", False),
        ("aa", "project 7", False, "bb", True),
        # The current fingerprint is unknown.
        ("", "herd-tiers fingerprint=bb", True, "bb", False),
    ],
)
def test_job_with_another_fingerprint_is_outdated(
    current: str, text: str, is_managed: bool, submitted: str, expected: bool
) -> None:
    assert job_revision.is_outdated(current, text, is_managed, submitted) is expected


@pytest.mark.parametrize(
    ("is_running", "is_asked", "words"),
    [(False, False, "a new job follows"), (True, True, "in an idle window"), (True, False, "when it is requeued")],
)
def test_message_names_the_replacement_of_an_outdated_job(is_running: bool, is_asked: bool, words: str) -> None:
    said = job_revision.in_words("12", is_running, is_asked)
    assert said.startswith("job 12 is outdated")
    assert words in said
