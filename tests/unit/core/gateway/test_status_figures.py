"""The figures of the status page: units, GPU levels, loaded models, and the charts of the last hour."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import chart, text
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status.history import MINUTES, TierHistory
from ansible_collections.herd.inference.plugins.module_utils.core.host.nvidia_smi import GpuMemoryLimits
from tests.unit.core.gateway.test_status import COUNTERS, ENTRY, FAST, MEASURED, WALL, collect, page, view, words

NOW = 600000.0
UNITS = r"\d (?:GiB|tokens(?:/s)?|s|%|seconds|minutes|hours|requests|running|waiting)(?!\w)"


def history() -> TierHistory:
    return TierHistory(NOW - 600)


def test_history_spreads_tokens_over_the_minutes_that_generated_them() -> None:
    made = history()
    made.add(NOW - 30, tokens=900, written_s=90, ttft=0.5)
    data = made.as_data(NOW, WALL)
    assert data["requests"][-3:] == [0, 0, 1]
    # A minute of the 90 seconds was in the latter half of one minute, and the first half of the next.
    assert data["tokens_per_s"][-3:] == [0, 10, 5]
    assert data["ttft_s"][-3:] == [None, None, 0.5]


def test_history_has_the_mean_time_to_the_first_token() -> None:
    made = history()
    for ttft in (0.5, 1.0, None):
        made.add(NOW - 30, 0, 0, ttft)
    data = made.as_data(NOW, WALL)
    assert (data["ttft_s"][-1], data["requests"][-1]) == (0.75, 3)


def test_history_is_unknown_before_the_process_began() -> None:
    made = history()
    made.add(NOW - 540, tokens=100, written_s=6000, ttft=None)
    data = made.as_data(NOW, WALL)
    assert data["from"] == "2026-11-21T11:20:42Z"
    assert [len(data[name]) for name in ("requests", "tokens_per_s", "ttft_s")] == [MINUTES] * 3
    assert data["requests"] == [None] * 50 + [0, 1] + [0] * 8
    assert data["tokens_per_s"][:50] == [None] * 50


def test_history_shows_no_unfinished_minute() -> None:
    made = history()
    made.add(NOW + 20, 100, 10, 1.0)
    assert sum(filter(None, made.as_data(NOW + 30, WALL)["requests"])) == 0
    assert made.as_data(NOW + 60, WALL)["requests"][-1] == 1


def test_history_is_bounded() -> None:
    made = history()
    for minute in range(10 * MINUTES):
        made.add(NOW + 60 * minute, 10, 1e6, 1.0)
    assert len(made._minutes) <= MINUTES + 1
    later = made.as_data(NOW + 60 * 20 * MINUTES, WALL)
    assert later["requests"] == [0] * MINUTES


def test_charts_draw_gaps_and_single_minutes() -> None:
    assert 'd="M0 1.0L1 19.0M3 10.0h0"' in chart.line([2, 0, None, 1], "Requests")
    assert 'd=""' in chart.line([None, None], "Requests")
    assert 'd="M0 19.0L1 19.0"' in chart.line([0, 0], "Requests")


def with_history(made: TierHistory) -> str:
    counters = {**COUNTERS, "history": made.as_data(NOW, WALL)}
    return page(collect(view(fast=FAST), replace(MEASURED, counters={"fast": counters})))


def test_charts_have_their_values_as_text() -> None:
    made = history()
    for ago, tokens, ttft in ((250, 1200, 0.4), (130, 600, 1.2), (70, 0, None)):
        made.add(NOW - ago, tokens, 5, ttft)
    text = with_history(made)
    labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', text)
    assert labels == [
        "Requests in the last hour: from 0 to 1 a minute, in the latest minute 0 a minute.",
        "Generated tokens in the last hour: from 0 to 20 tokens/s, in the latest minute 0 tokens/s.",
        "Mean time to the first token in the last hour: from 0.4 to 1.2 s, in the latest minute none.",
    ]
    assert "Last hour Requests 3 in all Tokens/s up to 20 First token up to 1.2 s" in words(text)


def test_an_hour_without_requests_has_no_charts() -> None:
    assert "<svg" not in with_history(history())


@pytest.mark.parametrize("state", ["ready", "preempted", "loading"])
def test_units_stay_with_their_values(state: str) -> None:
    made = history()
    made.add(NOW - 70, 600, 5, 1.2)
    counters = {**COUNTERS, "history": made.as_data(NOW, WALL)}
    tier = {**FAST, "state": state, "expected": WALL + 1500, "retry_after_s": 300, "percent": 43}
    shown = page(collect(view(fast=tier), replace(MEASURED, counters={"fast": counters})))
    body = re.sub(r'<span class="quantity">[^<]*</span>|="[^"]*"|<style>.*?</style>', "", shown)
    assert not re.findall(UNITS, re.sub(r"<[^>]*>", "|", body))
    assert len(re.findall(rf'<span class="quantity">[^<]*{UNITS}', shown)) >= 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.0001, "0"),
        (570.4, "570.4"),
        (64769.26, "64,769"),
        (0.0412, "0.041"),
        (38.2, "38.2"),
        (512.0, "512"),
        (1234567, "1,234,567"),
        (1e6, "1,000,000"),
    ],
)
def test_numbers_are_short_and_never_in_scientific_notation(value: float, expected: str) -> None:
    assert text.number(value) == expected


@pytest.mark.parametrize(
    ("used_gib", "level", "shown"),
    [
        (10, "below", "10.0 of 32.0 GiB"),
        (27, "good", "27.0 of 32.0 GiB"),
        (29, "acceptable", "29.0 of 32.0 GiB, above target"),
        (31, "critical", "31.0 of 32.0 GiB, critical"),
    ],
)
def test_a_gpu_has_its_name_and_level(used_gib: int, level: str, shown: str) -> None:
    gpu = {"host": "vasp-02", "name": "Tesla V100S", "used_mib": used_gib * 1024, "total_mib": 32768}
    status = collect(view(fast={**FAST, "endpoints": [{**ENTRY, "load": {"gpus": [gpu]}}]}))
    assert status["tiers"][0]["gpus"][0]["level"] == level
    text = page(status)
    assert f'data-level="{level}" aria-label="Memory of Tesla V100S, vasp-02: {used_gib}.0 of 32.0 GiB"' in text
    assert f"GPU memory Tesla V100S, vasp-02 {shown} So far" in words(text)


def test_gpu_levels_follow_the_sites_thresholds() -> None:
    limits = GpuMemoryLimits(10, 12, 14)
    status = collect(view(fast=FAST), replace(MEASURED, gpu_memory=limits))
    assert status["tiers"][0]["gpus"][0]["level"] == "critical"


@pytest.mark.parametrize(
    ("requests", "errors", "shown"),
    [
        (1234, 49, "So far 49 of 1,234 requests failed"),
        (1234, 0, "So far 1,234 requests, none failed"),
        (0, 0, "So far none"),
        (None, None, "So far not known"),
    ],
)
def test_failures_are_a_part_of_the_requests(requests: Any, errors: Any, shown: str) -> None:
    counters = {"fast": {"requests": requests, "errors": errors}}
    assert shown in words(page(collect(view(fast=FAST), replace(MEASURED, counters=counters))))


def test_only_loaded_models_are_marked() -> None:
    text = page(collect(view(fast=FAST)))
    assert text.count('class="loaded"') == 1
    assert "strand loaded other" in words(text)
    unknown = collect(view(fast=FAST), replace(MEASURED, loaded={}))
    assert unknown["tiers"][0]["loaded"] is None
    assert 'class="loaded"' not in page(unknown)
