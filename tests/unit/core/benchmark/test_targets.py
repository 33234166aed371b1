# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import targets
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("output_tokens_per_second", 15.0, "target"),
        ("output_tokens_per_second", 14.9, "acceptable"),
        ("output_tokens_per_second", 9.0, "poor"),
        ("output_tokens_per_second", 7.9, "critical"),
        ("time_to_first_token_s", 1.9, "target"),
        ("time_to_first_token_s", 4.9, "acceptable"),
        ("time_to_first_token_s", 7.0, "poor"),
        ("time_to_first_token_s", 10.1, "critical"),
        ("gpu_utilization_percent", 70.0, "target"),
        ("gpu_utilization_percent", 39.0, "critical"),
        ("gpu_memory_gb", 27.6, "target"),
        ("gpu_memory_gb", 29.0, "acceptable"),
        ("gpu_memory_gb", 30.1, "critical"),
        ("network_gbps", 51.0, "target"),
        ("network_gbps", 25.0, "poor"),
        ("network_gbps", None, "unknown"),
    ],
)
def test_level_of_a_value(name: str, value: float | None, expected: str) -> None:
    assert targets.level(value, targets.DEFAULTS[name]) == expected


def test_a_site_changes_single_limits() -> None:
    made = targets.with_changes({"output_tokens_per_second": {"target": 40, "acceptable": 25}})
    assert targets.level(24, made["output_tokens_per_second"]) == "poor"
    assert made["network_gbps"] == targets.DEFAULTS["network_gbps"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": {"target": 1}}, "'speed'"),
        ({"network_gbps": {"best": 1}}, "best: 1"),
        ({"network_gbps": {"target": "much"}}, "target: 'much'"),
        ({"network_gbps": {"target": float("nan")}}, "target: nan"),
        ({"network_gbps": {"target": 25}}, "falling values for target, acceptable and critical of network_gbps"),
        ({"time_to_first_token_s": {"critical": 1}}, "rising values"),
    ],
)
def test_wrong_targets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        targets.with_changes(changes)
