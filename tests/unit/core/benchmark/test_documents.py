# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import (
    cases,
    comparison,
    document,
    results,
    tables,
    targets,
)
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.nodes import node_samples
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests import measurement
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests.request_timing import RequestTiming
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError

CASE = cases.Case("short", 0, 0, 1, 100)
OTHER = cases.Case("code", 0, 0, 1, 100)
#: A node with one GPU in full use and no counters of its fabric.
GPU = {"index": 0, "name": "Tesla V100S", "utilisation_percent": 90, "used_mib": 26000}
HEADER = node_samples.header_line(node_samples.Header(1.0))
SAMPLES = "\n".join(json.dumps({"time_s": 1e9 + second, "elapsed_s": second, "gpus": [GPU]}) for second in (0, 1, 2))
SUMMARY = node_samples.summarise(node_samples.parse(f"{HEADER}\n{SAMPLES}\n"))


def request(tokens_per_second: float) -> RequestTiming:
    last = 0.5 + 100 / tokens_per_second
    return RequestTiming(0, last, 0.4, 0.5, 0.5, last, prompt_tokens=20, output_tokens=101)


def result(*requests: RequestTiming, case: cases.Case = CASE) -> results.CaseResult:
    runs = [results.run_result([one], results.Objective(), 0.0) for one in requests]
    return results.CaseResult(case, runs, results.pooled(requests, 0.0))


def written(*found: results.CaseResult, is_complete: bool = True, **conditions: Any) -> dict[str, Any]:
    endpoint = {"url": "http://10.0.0.31:8000", "model": "strand", "kind": "head"}
    measured = document.measured(
        "2026-11-30T10:00:00Z", endpoint, measurement.Measurement(12.5, list(found), is_complete)
    )
    return document.document(measured, conditions, {"vllm-node1": SUMMARY}, targets.DEFAULTS)


def made(*rates: float, case: cases.Case = CASE, **conditions: Any) -> dict[str, Any]:
    return written(result(*map(request, rates), case=case), **conditions)


def row(found: dict[str, Any], metric: str) -> dict[str, Any]:
    return next(one for one in found["rows"] if one["metric"] == metric)


def test_document_is_valid_by_its_schema() -> None:
    validator = jsonschema.Draft202012Validator(document.schema())
    jsonschema.Draft202012Validator.check_schema(document.schema())
    for rates in ((12.0,), (12.0, 12.5, 11.8)):
        # Strict JSON: no NaN and no Infinity.
        validator.validate(json.loads(json.dumps(made(*rates), allow_nan=False)))


def test_values_of_the_nodes_are_judged() -> None:
    found = {row["metric"]: (row["level"], row["value"]) for row in made(12.0)["verdicts"]}
    assert found["gpu_utilization_percent"] == ("target", 90)
    assert found["gpu_memory_gb"] == ("target", pytest.approx(27.263, abs=0.001))
    assert found["network_gbps"] == ("unknown", None)


def test_schema_refuses_what_is_no_result() -> None:
    validator = jsonschema.Draft202012Validator(document.schema())
    changes: list[dict[str, Any]] = [{"format": "2"}, {"latency_ms": "fast"}, {"cases": {}}, {"extra": 1}]
    for change in changes:
        assert list(validator.iter_errors({**made(12.0), **change})), change


def test_one_repetition_has_no_interval() -> None:
    assert made(12.0)["cases"][0]["means"]["output_tokens_per_second"]["half_width"] is None


def test_faster_generation_is_better_and_its_gap_smaller() -> None:
    found = comparison.compare(made(12.0, 12.1, 11.9), made(15.0, 15.1, 14.9))
    assert row(found, "output_tokens_per_second")["verdict"] == "better"
    assert row(found, "output_tokens_per_second")["change_percent"] == pytest.approx(25, abs=0.1)
    assert row(found, "itl_ms")["verdict"] == "better"
    assert row(found, "ttft_ms")["verdict"] == "within noise"


def test_slower_generation_is_worse() -> None:
    found = comparison.compare(made(15.0, 15.1, 14.9), made(12.0, 12.1, 11.9))
    assert row(found, "output_tokens_per_second")["verdict"] == "worse"
    assert row(found, "request_latency_ms")["verdict"] == "worse"


def test_single_repetitions_are_not_judged() -> None:
    assert row(comparison.compare(made(12.0), made(15.0)), "itl_ms")["verdict"] == "too few repetitions"


def test_cases_and_conditions_that_differ_are_named() -> None:
    found = comparison.compare(
        made(12.0, release="b7836", nodes={"a": {"driver": "535"}}),
        made(12.0, case=OTHER, release="b7836", nodes={"a": {"driver": "550"}}),
    )
    assert (found["rows"], found["only_before"], found["only_after"]) == ([], ["short c1"], ["code c1"])
    assert found["conditions"] == ["nodes.a.driver"]


@pytest.mark.parametrize(
    "other",
    [
        {},
        [],
        None,
        "",
        '{"format"',
        "[1]",
        {"format": "herd.inference benchmark 2"},
        {"format": document.FORMAT},
        {"format": document.FORMAT, "cases": [1]},
        {"format": document.FORMAT, "cases": [{"label": "short c1", "repetitions": [{"totals": {}, "metrics": 3}]}]},
    ],
)
def test_files_that_are_no_results_are_refused(other: Any) -> None:
    with pytest.raises(InvalidInputError, match="in the second file"):
        comparison.compare(made(12.0), other)


def test_texts_of_files_are_compared_as_their_documents_are() -> None:
    before, after = made(12.0, 12.1, 11.9), made(15.0, 15.1, 14.9)
    assert comparison.compare(json.dumps(before), json.dumps(after)) == comparison.compare(before, after)


def test_requests_of_all_repetitions_are_summarised_together() -> None:
    (case,) = made(10.0, 20.0, 40.0)["cases"]
    assert case["metrics"]["output_tokens_per_second"]["count"] == 3
    assert case["metrics"]["output_tokens_per_second"]["p50"] == pytest.approx(20)


def test_table_shows_rates_times_and_verdicts() -> None:
    text = tables.table(made(12.0, 12.5, 11.8))
    assert "head http://10.0.0.31:8000, model strand, 2026-11-30T10:00:00Z" in text
    rates, times = (line.split() for line in text.splitlines() if line.startswith("short c1"))
    # Case (two words), requests, errors, tokens/s and half of its interval.
    assert rates[2:6] == ["3", "0", "12.1", "0.896"]
    assert times[2:5] == ["500", "500", "500"]
    (verdict,) = (line.split() for line in text.splitlines() if line.startswith("output_tokens_per_second"))
    assert verdict == ["output_tokens_per_second", "acceptable", "12.1", "tokens/s", "15", "10", "8", "short", "c1"]


def test_table_names_errors_and_an_early_end() -> None:
    failed = RequestTiming(0, 1, error="503: no tier is ready\x1b[31m")
    text = tables.table(written(result(request(12.0), failed, failed), is_complete=False))
    assert "503: no tier is ready [31m" in text
    assert "benchmark_time_limit" in text


def test_comparison_shows_only_what_changed() -> None:
    text = tables.changes(comparison.compare(made(12.0, 12.1, 11.9), made(15.0, 15.1, 14.9, driver="550")))
    assert "output_tokens_per_second" in text
    assert "+25.0 %  better" in text
    assert "ttft_ms" not in text
    assert "Conditions that differ: driver" in text


def test_comparison_without_a_change_says_so() -> None:
    assert "Nothing changed beyond noise." in tables.changes(comparison.compare(made(12.0), made(15.0)))
