# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the results of a benchmark as one JSON document, and describe that document with a JSON schema."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from . import definitions
from .nodes import engine_bench, node_samples
from .requests.measurement import Measurement
from .results import CaseResult, repeated
from .summaries import MeanInterval
from .targets import ACCEPTABLE, CRITICAL, POOR, TARGET, UNKNOWN, Target
from .verdicts import verdicts

#: Name and version of the format. A reader refuses any other.
FORMAT = "herd.inference benchmark 1"
_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


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
        "metrics": {name: asdict(found) for name, found in result.summaries.items()},
        "means": {name: _interval(found) for name, found in repeated(result.runs).items()},
    }


def measured(started: str, endpoint: Mapping[str, Any], found: Measurement) -> dict[str, Any]:
    """Return the part of the document that the client measures.

    :param started: date and time in UTC, as ISO 8601.
    :param endpoint: C(url), C(model) and C(kind).
    """
    return {
        "started": started,
        "endpoint": dict(endpoint),
        "complete": found.is_complete,
        "latency_ms": found.latency_ms,
        "cases": [_case(one) for one in found.results],
    }


def document(
    found: Mapping[str, Any],
    conditions: Mapping[str, Any],
    nodes: Mapping[str, Any],
    limits: Mapping[str, Target],
) -> dict[str, Any]:
    """Return the document.

    :param found: what C(measured) returned.
    :param conditions: what the result depends on: release, command line, hashes, driver, clocks, temperature.
    :param nodes: what the nodes did meanwhile, by host; see C(node_samples.py).
    :param limits: the targets, by name.
    """
    parts = {name: found[name] for name in ("started", "endpoint", "complete", "latency_ms", "cases")}
    rows = verdicts(parts["cases"], node_samples.target_values(nodes), limits)
    return {"format": FORMAT, **parts, "conditions": dict(conditions), "nodes": dict(nodes), "verdicts": rows}


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
            "metrics": _by_name(summary, requests),
            "means": _by_name(interval, [*requests, *totals]),
        }
    )
    verdict = _object(
        {
            "metric": text,
            "case": text,
            "value": {"type": ["number", "null"]},
            "unit": text,
            "level": {"enum": [TARGET, ACCEPTABLE, POOR, CRITICAL, UNKNOWN]},
            "target": number,
            "acceptable": number,
            "critical": number,
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
                "complete": {"type": "boolean"},
                "latency_ms": number,
                "cases": {"type": "array", "items": case},
                "conditions": {"type": "object"},
                "nodes": {"type": "object", "additionalProperties": dict(node_samples.SCHEMA)},
                "verdicts": {"type": "array", "items": verdict},
                "engine_alone": {"type": "array", "items": dict(engine_bench.SCHEMA)},
            },
            "engine_alone",
        ),
    }
