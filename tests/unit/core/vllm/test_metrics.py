# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of vLLM's metrics that are none of its own do not end the reading."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import metrics

RUNNING = 'vllm:num_requests_running{engine="0"} '
BUCKET = 'vllm:time_to_first_token_seconds_bucket{le="%s"} 4.0\n'


def test_counters_of_several_engines_are_added_up() -> None:
    text = f'{RUNNING}2.0\nvllm:num_requests_running{{engine="1"}} 1.0\nvllm:num_requests_waiting 4.0\n'
    assert metrics.counters(text) == metrics.Counters(None, 7)
    text = "vllm:generation_tokens_total 5.0\nvllm:prompt_tokens_total 7.0\nvllm:generation_tokens_created 9.0\n"
    assert metrics.counters(text) == metrics.Counters(12.0, None)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e400", "1e308", "x", ""])
def test_value_out_of_range_is_left_out(value: str) -> None:
    text = f"{RUNNING}{value}\n{RUNNING}{value}\n"
    assert metrics.counters(text) == metrics.Counters()
    assert metrics.parse(text).running == 0


@pytest.mark.parametrize("bound", ["x", "nan", "1e999", "-1", "1..2"])
def test_bucket_without_a_bound_is_left_out(bound: str) -> None:
    found = metrics.parse(BUCKET % "0.5" + BUCKET % bound + BUCKET % "+Inf")
    assert found.first_token_s == {"p50": 0.25, "p95": 0.475}


def test_reason_has_no_control_characters() -> None:
    text = 'vllm:request_success_total{finished_reason="a\x1b[2J"} 1.0\n'
    assert metrics.parse(text).finished == {"a [2J": 1}
