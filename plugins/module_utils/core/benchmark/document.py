# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the results of a benchmark as one JSON document, and describe that document with a JSON schema."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import definitions
from .cases import Case
from .results import RunResult, repeated
from .summaries import MeanInterval
from .targets import ACCEPTABLE, CRITICAL, POOR, TARGET, UNKNOWN

#: Name and version of the format. A reader refuses any other.
FORMAT = "herd.inference benchmark 1"
_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class CaseResult:
    """The repetitions of one case.

    :ivar nodes: what the nodes did meanwhile, by host; see C(node_samples.py).
    """

    case: Case
    runs: Sequence[RunResult]
    nodes: Mapping[str, Any]


def _interval(found: MeanInterval) -> dict[str, Any]:
    half = found.half_width if math.isfinite(found.half_width) else None
    return {"count": found.count, "mean": found.mean, "half_width": half}


def _case(result: CaseResult) -> dict[str, Any]:
    return {
        "label": result.case.label,
        **asdict(result.case),
        "repetitions": [
            {
                "requests": run.requests,
                "seconds": run.seconds,
                "errors": dict(run.errors),
                "metrics": {name: asdict(found) for name, found in run.summaries.items()},
                "totals": dict(run.totals),
            }
            for run in result.runs
        ],
        "means": {name: _interval(found) for name, found in repeated(result.runs).items()},
        "nodes": dict(result.nodes),
    }


def document(
    started: str,
    endpoint: Mapping[str, Any],
    conditions: Mapping[str, Any],
    latency_ms: float,
    cases: Sequence[CaseResult],
    verdicts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the document.

    :param started: date and time in UTC, as ISO 8601.
    :param endpoint: C(url), C(model) and C(kind).
    :param conditions: what the result depends on: release, command line, hashes, driver, clocks, temperature.
    :param latency_ms: what a request takes that has no prompt to compute.
    :param verdicts: rows with C(metric), C(value), C(unit), C(level) and C(case).
    """
    return {
        "format": FORMAT,
        "started": started,
        "endpoint": dict(endpoint),
        "conditions": dict(conditions),
        "latency_ms": latency_ms,
        "cases": [_case(one) for one in cases],
        "verdicts": [dict(row) for row in verdicts],
    }


def _object(properties: Mapping[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _by_name(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: dict(value) for name in names}, "additionalProperties": False}


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the document."""
    number, count, text = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "string"}
    requests = [metric.name for metric in definitions.REQUEST_METRICS]
    totals = [metric.name for metric in definitions.RUN_METRICS]
    summary = _object({"count": count, **dict.fromkeys(("mean", "p50", "p95", "p99", "least", "most"), number)})
    repetition = _object(
        {
            "requests": count,
            "seconds": number,
            "errors": {"type": "object", "additionalProperties": count},
            "metrics": _by_name(summary, requests),
            "totals": _by_name(number, totals),
        }
    )
    interval = _object({"count": count, "mean": number, "half_width": {"type": ["number", "null"]}})
    case = _object(
        {
            "label": text,
            "kind": text,
            "prompt_tokens": count,
            "depth": count,
            "clients": {"type": "integer", "minimum": 1},
            "output_tokens": count,
            "repetitions": {"type": "array", "items": repetition},
            "means": _by_name(interval, [*requests, *totals]),
            "nodes": {"type": "object", "additionalProperties": {"type": "object"}},
        }
    )
    verdict = _object(
        {
            "metric": text,
            "case": text,
            "value": {"type": ["number", "null"]},
            "unit": text,
            "level": {"enum": [TARGET, ACCEPTABLE, POOR, CRITICAL, UNKNOWN]},
        }
    )
    return {
        "$schema": _SCHEMA,
        "title": FORMAT,
        **_object(
            {
                "format": {"const": FORMAT},
                "started": {"type": "string", "format": "date-time"},
                "endpoint": _object({"url": text, "model": text, "kind": text}),
                "conditions": {"type": "object"},
                "latency_ms": number,
                "cases": {"type": "array", "items": case},
                "verdicts": {"type": "array", "items": verdict},
            }
        ),
    }
