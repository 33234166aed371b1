# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests.request_timing import RequestTiming

#: Starts at 100 s. 101 tokens: a reasoning token after 0.5 s, the answer after 1.5 s, the last after 10.5 s.
THINKING = RequestTiming(100.0, 110.75, 100.25, 100.5, 101.5, 110.5, prompt_tokens=1000, output_tokens=101)


def test_times_count_from_the_request() -> None:
    assert THINKING.ttfr_ms == 250
    assert THINKING.ttft_ms == 500
    assert THINKING.ttfot_ms == 1500
    assert THINKING.request_latency_ms == 10750


def test_time_between_tokens_leaves_out_the_wait_for_the_first() -> None:
    assert THINKING.itl_ms == 100
    assert THINKING.output_tokens_per_second == 10
    assert THINKING.tpot_ms == pytest.approx(10500 / 101)


def test_prompt_rate_leaves_out_the_latency_and_cached_tokens() -> None:
    assert THINKING.prompt_tokens_per_second(50.0) == 5000
    cached = RequestTiming(0.0, 2.0, 0.25, 0.25, 0.25, 2.0, prompt_tokens=1000, cached_tokens=800, output_tokens=2)
    assert cached.prompt_tokens_per_second(50.0) == 1000


@pytest.mark.parametrize(
    ("request_", "latency"),
    [
        (RequestTiming(0.0, 1.0), 0.0),
        (RequestTiming(0.0, 1.0, 0.1, prompt_tokens=10, cached_tokens=10), 0.0),
        (RequestTiming(0.0, 1.0, 0.1, prompt_tokens=10), 100.0),
    ],
    ids=["no response", "all cached", "not slower than an empty request"],
)
def test_prompt_rate_is_unknown_without_a_computed_token(request_: RequestTiming, latency: float) -> None:
    assert request_.prompt_tokens_per_second(latency) is None


def test_a_request_without_a_token_has_no_token_times() -> None:
    refused = RequestTiming(0.0, 1.0, error="503 no tier is ready")
    assert not refused.succeeded
    assert (refused.ttfr_ms, refused.ttft_ms, refused.ttfot_ms, refused.itl_ms, refused.tpot_ms) == (None,) * 5
    assert refused.output_tokens_per_second is None


def test_one_token_has_no_time_between_tokens() -> None:
    one = RequestTiming(0.0, 1.0, 0.5, 0.5, 0.5, 0.5, prompt_tokens=4, output_tokens=1)
    assert (one.itl_ms, one.tpot_ms) == (None, 500)
