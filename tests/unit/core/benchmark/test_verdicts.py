# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import targets
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.verdicts import verdicts


def case(label: str, clients: int, depth: int, rate: float, ttft_ms: float) -> dict[str, Any]:
    means = {"output_tokens_per_second": {"mean": rate}, "ttft_ms": {"mean": ttft_ms}}
    return {"label": label, "clients": clients, "depth": depth, "means": means}


CASES = [
    case("short c1", 1, 0, 16.0, 900.0),
    case("long c1", 1, 0, 12.0, 6000.0),
    case("long d8192 c1", 1, 8192, 2.0, 60000.0),
    case("long c8", 8, 0, 1.0, 90000.0),
]


def judged(cases: list[dict[str, Any]], **nodes: float) -> dict[str, tuple[Any, ...]]:
    rows = verdicts(cases, nodes, targets.DEFAULTS)
    return {row["metric"]: (row["level"], row["value"], row["case"]) for row in rows}


def test_slowest_case_of_one_user_counts() -> None:
    found = judged(CASES)
    assert found["output_tokens_per_second"] == ("acceptable", 12.0, "long c1")
    assert found["time_to_first_token_s"] == ("poor", 6.0, "long c1")


def test_values_of_the_nodes_are_judged() -> None:
    found = judged(CASES, gpu_utilization_percent=38.0, gpu_memory_gb=27.0)
    assert found["gpu_utilization_percent"] == ("critical", 38.0, "")
    assert found["gpu_memory_gb"] == ("target", 27.0, "")
    assert found["network_gbps"] == ("unknown", None, "")


def test_every_target_has_a_verdict_without_a_case() -> None:
    assert {row[0] for row in judged([]).values()} == {"unknown"}
    assert len(judged([])) == 5
