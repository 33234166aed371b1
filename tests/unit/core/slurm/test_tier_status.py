# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_status
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_status import StatusReport, TierReport
from tests.unit.core.slurm.test_endpoint_registry import FAST, NOW

VIEW = StatusReport(
    NOW,
    {
        "fast": TierReport(True, "ready", "", 5, None, 100, "12", None, "", ("vasp-02",), (FAST,)),
        "reasoning": TierReport(
            True,
            "preempted",
            "preempted by VASP's job 88; pending: Priority",
            60,
            NOW + 5400,
            None,
            "13",
            "Priority",
            "nothing to do, it comes back by itself",
        ),
    },
    ("slurmctld has not answered since 12:00",),
)


def test_written_status_is_read() -> None:
    assert tier_status.read(tier_status.write(VIEW)) == VIEW


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"tiers": {"fast": {"enabled": True, "state": "up"}}},
        {"tiers": {"fast": {"enabled": True}}},
        {"tiers": ["fast"]},
        {"written": "now"},
    ],
)
def test_status_with_wrong_values_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="herd-tiers"):
        tier_status.read(json.dumps({**tier_status.as_data(VIEW), **change}))


def test_invalid_endpoint_gets_no_requests_and_the_others_stay() -> None:
    data = tier_status.as_data(VIEW)
    entries = data["tiers"]["fast"]["endpoints"]
    data["tiers"]["fast"]["endpoints"] = [{"schema": 1}, *entries, {**entries[0], "address": "0.0.0.0"}]
    assert tier_status.read(json.dumps(data)) == VIEW


@pytest.mark.parametrize("text", ["", "null", "[]", "[" * 20000, tier_status.write(VIEW)[:-5]])
def test_file_without_a_status_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        tier_status.read(text)


@pytest.mark.parametrize(("age", "is_old"), [(0, False), (10, False), (11, True), (-10, False), (-11, True)])
def test_status_is_valid_for_ten_seconds(age: float, is_old: bool) -> None:
    assert bool(VIEW.age_problem(NOW + age)) == is_old


def test_table_shows_each_tier_with_advice_and_problems() -> None:
    assert tier_status.table(VIEW, NOW).splitlines() == [
        "TIER       STATE      JOB  WHERE         MODELS     SINCE  BACK       WHY",
        "fast       ready      12   vasp-02:8080  lab-llama  9 min  -          -",
        "reasoning  preempted  13   -             -          -      in 90 min  preempted by VASP's job 88; pending: "
        "Priority",
        "reasoning: nothing to do, it comes back by itself.",
        "slurmctld has not answered since 12:00",
    ]
    # Both times of an entry are by another host's clock.
    assert "9 min" in tier_status.table(VIEW, NOW + 7200)
    assert "This is old: the tier manager has written nothing for 30 seconds" in tier_status.table(VIEW, NOW + 30)
