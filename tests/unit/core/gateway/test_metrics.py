# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From lines of nginx's log to the access log and to metrics."""

from __future__ import annotations

import json

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import metrics as gateway_metrics
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.metrics import (
    GatewayMetrics,
    Histogram,
    logged_request,
    parse_line,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.response_stream import Tokens

# As nginx 1.22 sends it.
RAW = (
    b'<190>Nov 21 12:31:31 herd: {"time":"2026-11-21T12:31:31+00:00","id":"353793af","key":"ann","tier":"reasoning",'
    b'"task":"","model":"large-one","stream":"1","fallback_from":"","status":"200","ttft":"0.003 : 0.061",'
    b'"duration":"0.247","sent":"1983","received":"335","complete":"OK","engine":"unix:/run/d.sock : 10.0.0.42:8080",'
    b'"client":"127.0.0.1","method":"POST","path":"/v1/chat/completions"}'
)


def line(**more: str) -> gateway_metrics.LoggedRequest | None:
    data = parse_line(RAW)
    assert data is not None
    return logged_request({**data, **more})


def test_a_log_line_is_parsed() -> None:
    found = line()
    assert found == gateway_metrics.LoggedRequest("reasoning", 200, 0.247, 1983, 0.061, True)


@pytest.mark.parametrize(
    ("more", "ttft"),
    [
        ({"stream": "0"}, None),
        ({"ttft": "0.003 : -"}, None),
        ({"ttft": ""}, None),
        ({"tier": ""}, None),
        ({"status": "503"}, None),
    ],
)
def test_only_a_successful_stream_has_a_first_token(more: dict[str, str], ttft: float | None) -> None:
    found = line(**more)
    assert found is not None
    assert found.ttft is ttft


@pytest.mark.parametrize(
    ("more", "is_whole"),
    [
        ({}, True),
        ({"length": ""}, True),
        ({"length": "1983"}, True),
        # Its engine ended in the middle, which nginx calls complete all the same.
        ({"length": "1984"}, False),
        ({"length": "5000", "method": "HEAD", "sent": "0"}, True),
        ({"length": "1983", "complete": ""}, False),
    ],
)
def test_a_response_shorter_than_its_length_is_cut(more: dict[str, str], is_whole: bool) -> None:
    found, data = line(**more), parse_line(RAW)
    assert found is not None
    assert data is not None
    assert found.complete is is_whole
    written = gateway_metrics.log_entry({**data, **more}, Tokens())
    assert written["complete"] is is_whole
    assert "length" not in written


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"<190>herd: []", b'{"tier": 1}', b"\xff\xfe", b'{"tier":"a","status":"x"}']
)
def test_unreadable_lines_are_counted(raw: bytes) -> None:
    metrics = GatewayMetrics(["fast"])
    metrics.add(logged_request(parse_line(raw)))
    assert metrics.unread == 1


def test_a_log_entry_has_typed_values_and_no_empty_ones() -> None:
    data = parse_line(RAW)
    assert data is not None
    assert gateway_metrics.log_entry(data, Tokens(8, 5)) == {
        "time": "2026-11-21T12:31:31+00:00",
        "id": "353793af",
        "key": "ann",
        "tier": "reasoning",
        "model": "large-one",
        "stream": True,
        "status": 200,
        "ttft": 0.061,
        "duration": 0.247,
        "sent": 1983,
        "received": 335,
        "complete": True,
        "engine": "10.0.0.42:8080",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "prompt_tokens": 8,
        "completion_tokens": 5,
    }
    json.dumps(gateway_metrics.log_entry({**data, "status": "-", "duration": ""}, Tokens()))


def test_quantiles_are_interpolated_between_bounds() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    for value in (0.5, 1.5, 1.5, 3.0):
        histogram.add(value)
    assert histogram.quantile(0.25) == 1.0
    assert histogram.quantile(0.5) == 1.5
    assert histogram.quantile(1.0) == 4.0
    histogram.add(100.0)
    assert histogram.quantile(1.0) == 4.0


@pytest.mark.parametrize(
    ("engine", "wanted"),
    [
        ("unix:/run/d.sock : 10.0.0.42:8080", "10.0.0.42:8080"),
        # It gave no answer, and the gateway was asked why.
        ("unix:/run/d.sock : 10.0.0.42:8080 : unix:/run/d.sock", "10.0.0.42:8080"),
        ("unix:/run/d.sock : 10.0.0.42:8080, 10.0.0.43:8080 : unix:/run/d.sock", "10.0.0.43:8080"),
        ("unix:/run/d.sock : unix:/run/d.sock", None),
        ("", None),
    ],
)
def test_the_logged_engine_is_the_last_upstream_that_is_no_socket(engine: str, wanted: str | None) -> None:
    data = parse_line(RAW)
    assert data is not None
    assert gateway_metrics.log_entry({**data, "engine": engine}, Tokens()).get("engine") == wanted


def test_load_and_speed_are_counted_by_tier() -> None:
    metrics = GatewayMetrics(["fast", "reasoning"])
    assert metrics.summary()["fast"]["in_flight"] == 0
    assert "tokens_per_s" not in metrics.summary()["fast"]
    for _each in range(3):
        metrics.begin("fast")
    metrics.end("fast")
    metrics.begin("unknown")
    metrics.end("unknown")
    metrics.count_tokens("fast", Tokens(100, 20, 90, 0.3, 1.0))
    metrics.count_tokens("fast", Tokens(100, 40, 10, 0.1, 1.0))
    # Of this one nobody knows how long it took.
    metrics.count_tokens("fast", Tokens(100, 4000))
    fast = metrics.summary()["fast"]
    # The speed is that of the last request.
    assert (fast["in_flight"], fast["tokens_per_s"], fast["prompt_tokens_per_s"]) == (2, 40.0, 100.0)
    assert (fast["prompt_tokens"], fast["completion_tokens"]) == (300, 4060)
    assert 'herd_gateway_in_flight{tier="fast"} 2' in metrics.text({})


def test_the_text_is_valid_prometheus() -> None:
    metrics = GatewayMetrics(["fast", "reasoning"])
    metrics.add(line())
    metrics.add(line(status="503", complete="", stream="0"))
    metrics.count_tokens("reasoning", Tokens(8, 5))
    metrics.count_tokens("unknown", Tokens(8, 5))
    metrics.refuse("invalid_api_key")
    text = metrics.text({"fast": "loading", "reasoning": "ready"})
    lines = text.splitlines()
    for wanted in (
        'herd_tier_ready{tier="fast"} 0',
        'herd_tier_ready{tier="reasoning"} 1',
        'herd_tier_state{tier="fast",state="loading"} 1',
        'herd_gateway_requests_total{tier="reasoning",status="200"} 1',
        'herd_gateway_requests_total{tier="reasoning",status="503"} 1',
        'herd_gateway_cut_total{tier="reasoning"} 1',
        'herd_gateway_ttft_seconds_bucket{tier="reasoning",le="0.05"} 0',
        'herd_gateway_ttft_seconds_bucket{tier="reasoning",le="0.1"} 1',
        'herd_gateway_ttft_seconds_bucket{tier="reasoning",le="+Inf"} 1',
        'herd_gateway_ttft_seconds_count{tier="reasoning"} 1',
        'herd_gateway_duration_seconds_count{tier="reasoning"} 2',
        'herd_gateway_tokens_total{tier="reasoning",kind="completion"} 5',
        'herd_gateway_refused_total{code="invalid_api_key"} 1',
    ):
        assert wanted in lines
    # Each family is described once, and its lines follow at once.
    names = [one.split()[2] for one in lines if one.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert "ann" not in text
    summary = metrics.summary()["reasoning"]
    assert (summary["requests"], summary["errors"], summary["cut"]) == (2, 1, 1)
