# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import results
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests.request_timing import RequestTiming


def answered(start: float, first: float, last: float, tokens: int = 11) -> RequestTiming:
    return RequestTiming(start, last, first, first, first, last, prompt_tokens=100, output_tokens=tokens)


def test_run_sums_up_its_requests() -> None:
    requests = [answered(0, 1, 2), answered(0, 2, 4), RequestTiming(1, 1.5, error="429 rate limit")]
    found = results.run_result(requests, results.Objective(ttft_ms=1500), 0.0)
    assert (found.requests, found.seconds, found.errors) == (3, 4, {"429 rate limit": 1})
    assert found.summaries["ttft_ms"].mean == 1500
    assert found.summaries["itl_ms"].mean == 150
    assert found.summaries["prompt_tokens_per_second"].mean == 75
    assert found.totals == {
        "total_output_tokens_per_second": 5.5,
        "total_tokens_per_second": 55.5,
        "requests_per_second": 0.5,
        "goodput": 0.25,
    }


def test_run_in_which_everything_failed_has_no_times() -> None:
    found = results.run_result([RequestTiming(0, 1, error="refused")], results.Objective(), 0.0)
    assert found.summaries == {}
    assert set(found.totals.values()) == {0.0}


@pytest.mark.parametrize(
    ("objective", "met"),
    [
        (results.Objective(), True),
        (results.Objective(ttft_ms=1000, itl_ms=100, request_latency_ms=2000), True),
        (results.Objective(ttft_ms=999), False),
        (results.Objective(itl_ms=99), False),
        (results.Objective(request_latency_ms=1999), False),
    ],
)
def test_objective(objective: results.Objective, met: bool) -> None:
    assert objective.met_by(answered(0, 1, 2)) is met


def test_missing_time_misses_its_limit() -> None:
    assert not results.Objective(itl_ms=1e9).met_by(answered(0, 1, 1, tokens=1))


def test_repetitions_enter_with_their_means() -> None:
    runs = [
        results.run_result([answered(0, 1, 2), answered(0, 2, 3)], results.Objective(), 0.0),
        results.run_result([answered(0, 3, 4)], results.Objective(), 0.0),
        results.run_result([RequestTiming(0, 1, error="refused")], results.Objective(), 0.0),
    ]
    found = results.repeated(runs)
    assert (found["ttft_ms"].count, found["ttft_ms"].mean) == (2, 2250)
    assert found["requests_per_second"].count == 3
    assert found["requests_per_second"].mean == pytest.approx((2 / 3 + 1 / 4) / 3)
