"""How busy and how fast an engine is, from its own counters."""

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine.throughput import EngineLoad


def counters(made: float, seconds: float, read: float = 0, reading: float = 0, **more: float) -> dict[str, float]:
    return {
        "tokens_predicted_total": made,
        "tokens_predicted_seconds_total": seconds,
        "prompt_tokens_total": read,
        "prompt_seconds_total": reading,
        "requests_processing": 1.0,
        "requests_deferred": 2.0,
        **more,
    }


def after(*looks: dict[str, float]) -> dict[str, Any] | None:
    load = EngineLoad()
    for look in looks:
        load.add(look)
    return load.as_data({})


def test_load_is_unknown_before_engine_answers() -> None:
    assert after() is None
    assert after({}) is None


def test_speed_covers_last_requests_only() -> None:
    assert after(counters(100, 10, 1000, 2), counters(120, 11, 1000, 2)) == {
        "tokens_per_s": 20.0,
        "prompt_tokens_per_s": 500.0,
        "processing": 1,
        "waiting": 2,
    }


def test_speed_stays_until_next_request_ends() -> None:
    assert (after(counters(100, 10), counters(100, 10)) or {})["tokens_per_s"] == 10.0
    assert after(counters(100, 10), {}) == {"tokens_per_s": 10.0}


def test_restarted_engine_counts_from_zero() -> None:
    assert (after(counters(100, 10), counters(0, 0), counters(50, 1)) or {})["tokens_per_s"] == 50.0


def test_load_lists_gpus_with_their_hosts() -> None:
    gpu = {"name": "Tesla V100S", "used_mib": 1, "total_mib": 2}
    assert EngineLoad().as_data({"vasp-02": [gpu], "vasp-01": [gpu], "vasp-03": []}) == {
        "gpus": [{"host": "vasp-01", **gpu}, {"host": "vasp-02", **gpu}]
    }


def test_single_token_gives_no_speed() -> None:
    proved = counters(1, 0.0, 4, 0.01)
    assert after(proved) == {"processing": 1, "waiting": 2}
    assert (after(proved, counters(11, 1.0, 4, 0.01)) or {})["tokens_per_s"] == 11.0


def test_few_tokens_wait_for_more() -> None:
    assert (after(counters(100, 10), counters(104, 12), counters(108, 14)) or {})["tokens_per_s"] == 2.0
