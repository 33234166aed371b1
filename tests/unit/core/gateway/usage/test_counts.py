# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request used, by what the gateway knows when it has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.event_stream import Tokens
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage import counts
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.counts import (
    EndedRequest,
    Usage,
    UsageKey,
)

NOVEMBER_30 = 1796083199.0  # 2026-11-30T23:59:59Z
WHOLE = EndedRequest(
    Tokens(prompt=7, completion=3),
    status=200,
    received=400,
    sent=300,
    is_stream=False,
    is_complete=True,
    is_sent=True,
    estimate=600,
)
STREAM = replace(WHOLE, is_stream=True, is_complete=False)


@pytest.mark.parametrize(
    ("request_", "usage"),
    [
        pytest.param(WHOLE, Usage(1, 0, 7, 3, 0), id="whole"),
        pytest.param(replace(STREAM, tokens=Tokens(completion=5)), Usage(1, 1, 0, 5, 100), id="stream-cut"),
        pytest.param(replace(STREAM, tokens=Tokens(), sent=0, status=499), Usage(1, 1, 0, 0, 100), id="stream-unread"),
        pytest.param(
            replace(WHOLE, tokens=Tokens(), status=499, is_complete=False), Usage(1, 1, 0, 0, 600), id="whole-left"
        ),
        pytest.param(
            replace(WHOLE, tokens=Tokens(), status=499, is_complete=False, is_sent=False),
            Usage(1, 1),
            id="left-in-the-queue",
        ),
        pytest.param(replace(WHOLE, tokens=Tokens(), status=503), Usage(1), id="engine-failed"),
        pytest.param(replace(WHOLE, tokens=Tokens()), Usage(1), id="no-tokens"),
        pytest.param(
            replace(STREAM, tokens=Tokens(completion=5), is_complete=True),
            Usage(1, 0, 0, 5, 100),
            id="complete-without-a-prompt",
        ),
        pytest.param(replace(WHOLE, tokens=Tokens(10**9, 10**9)), Usage(1, 0, 8592, 300, 0), id="absurd"),
    ],
)
def test_usage_of_a_request(request_: EndedRequest, usage: Usage) -> None:
    assert counts.usage_of(request_) == usage


def test_hours_and_months_are_those_of_utc() -> None:
    assert counts.hour_of(NOVEMBER_30) == 1796079600
    assert counts.month_of(NOVEMBER_30) == "2026-11"
    assert counts.month_of(NOVEMBER_30 + 1) == "2026-12"
    assert counts.month_begin(NOVEMBER_30) == 1793491200
    assert counts.month_end(NOVEMBER_30) == NOVEMBER_30 + 1
    december_31 = NOVEMBER_30 + 31 * 86400
    assert counts.month_end(december_31) == december_31 + 1


def test_month_tokens_sum_all_rows_of_a_key() -> None:
    november, december = counts.hour_of(NOVEMBER_30), counts.hour_of(NOVEMBER_30 + 1)
    batch = {
        UsageKey(november, "ann", "ann", "", "small", "fast"): Usage(1, 0, 2, 3, 4),
        UsageKey(november, "ann", "ann", "", "large", "reasoning"): Usage(1, 0, 10),
        UsageKey(december, "ann", "ann", "", "small", "fast"): Usage(1, 0, 1),
    }
    assert counts.month_tokens(batch) == {("2026-11", "ann"): 19, ("2026-12", "ann"): 1}
