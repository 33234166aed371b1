# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import cases, comparison, document, results
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.request_timing import RequestTiming
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError

CASE = cases.Case("short", 0, 0, 1, 100)
OTHER = cases.Case("code", 0, 0, 1, 100)


def run(tokens_per_second: float) -> results.RunResult:
    last = 0.5 + 100 / tokens_per_second
    request = RequestTiming(0, last, 0.4, 0.5, 0.5, last, prompt_tokens=20, output_tokens=101)
    return results.run_result([request], results.Objective(), 0.0)


def made(*rates: float, case: cases.Case = CASE, **conditions: Any) -> dict[str, Any]:
    result = document.CaseResult(case, [run(rate) for rate in rates], {"vllm-node1": {"gpus": []}})
    return document.document(
        "2026-11-30T10:00:00Z",
        {"url": "http://10.0.0.31:8000", "model": "strand", "kind": "head"},
        conditions,
        12.5,
        [result],
        [{"metric": "network_gbps", "case": "short c1", "value": None, "unit": "Gbit/s", "level": "unknown"}],
    )


def row(found: dict[str, Any], metric: str) -> dict[str, Any]:
    return next(one for one in found["rows"] if one["metric"] == metric)


def test_document_is_valid_by_its_schema() -> None:
    validator = jsonschema.Draft202012Validator(document.schema())
    jsonschema.Draft202012Validator.check_schema(document.schema())
    for rates in ((12.0,), (12.0, 12.5, 11.8)):
        # Strict JSON: no NaN and no Infinity.
        validator.validate(json.loads(json.dumps(made(*rates), allow_nan=False)))


def test_schema_refuses_what_is_no_result() -> None:
    validator = jsonschema.Draft202012Validator(document.schema())
    for change in ({"format": "2"}, {"latency_ms": "fast"}, {"cases": {}}, {"extra": 1}):
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
        {"format": "herd.inference benchmark 2"},
        {"format": document.FORMAT},
        {"format": document.FORMAT, "cases": [1]},
        {"format": document.FORMAT, "cases": [{"label": "short c1", "repetitions": [{"totals": {}, "metrics": 3}]}]},
    ],
)
def test_files_that_are_no_results_are_refused(other: Any) -> None:
    with pytest.raises(InvalidInputError, match="in the second file"):
        comparison.compare(made(12.0), other)
