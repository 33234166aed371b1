# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import settings
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError

GIVEN = {
    "prompts": ["short", "code"],
    "depths": [0],
    "clients": [1, 8],
    "output_tokens": 64,
    "requests": 2,
    "repetitions": 3,
}


def test_plan_counts_every_request_with_the_warm_up() -> None:
    assert settings.plan(GIVEN).request_count == 2 * (1 + 8) * 2 * 4


def test_plan_has_objective_and_targets() -> None:
    made = settings.plan({**GIVEN, "objective": {"ttft_ms": 2000}, "targets": {"network_gbps": {"target": 90}}})
    assert (made.objective.ttft_ms, made.objective.itl_ms) == (2000, None)
    assert made.limits["network_gbps"].target == 90


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"requests": 0}, "benchmark_requests"),
        ({"requests": True}, "benchmark_requests"),
        ({"requests": 1001}, "benchmark_requests"),
        ({"repetitions": 0}, "benchmark_repetitions"),
        ({"repetitions": 2.5}, "benchmark_repetitions"),
        ({"objective": {"speed": 1}}, "speed: 1"),
        ({"objective": {"ttft_ms": -1}}, "ttft_ms: -1"),
        ({"objective": {"ttft_ms": float("nan")}}, "ttft_ms: nan"),
        ({"targets": {"speed": {}}}, "benchmark_targets"),
        ({"clients": [1024], "requests": 1000}, "at most 1000000 requests"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        settings.plan({**GIVEN, **changes})


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://10.0.0.31:8000", "http://10.0.0.31:8000"),
        ("https://herd.example/v1/", "https://herd.example"),
        (" http://[fd00::1]:80/ ", "http://[fd00::1]:80"),
    ],
)
def test_address_loses_the_path_of_the_api(given: str, address: str) -> None:
    assert settings.endpoint_url(given) == address


@pytest.mark.parametrize(
    "given",
    ["", "10.0.0.31:8000", "ftp://a", "http://", "http://a:99999", "http://a/x", "http://a?x=1", "http://u:secret@a"],
)
def test_wrong_addresses_are_refused_without_a_password(given: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        settings.endpoint_url(given)
    assert "secret" not in str(caught.value)
