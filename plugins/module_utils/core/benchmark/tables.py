# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the results of a benchmark, and of a comparison, as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..text import plain, text_table
from .comparison import BETTER, SAME, UNKNOWN, WORSE

_RATES = ("case", "requests", "errors", "tokens/s", "+-", "prompt t/s", "all t/s", "requests/s", "goodput")
_TIMES = (
    "case",
    *(f"{metric} {place}" for metric in ("ttft", "ttfot", "itl", "latency") for place in ("p50", "p95", "p99")),
)
_VERDICTS = ("target", "verdict", "value", "unit", "aimed at", "acceptable", "critical", "case")
_CHANGES = ("case", "metric", "before", "after", "change", "verdict")
_ERRORS = ("case", "failed", "error")
_TIMED = {"ttft": "ttft_ms", "ttfot": "ttfot_ms", "itl": "itl_ms", "latency": "request_latency_ms"}


def _shown(value: float | None) -> str:
    """Format a value with three significant digits, and more before the decimal point."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _mean(case: Mapping[str, Any], metric: str, key: str = "mean") -> str:
    return _shown(case["means"].get(metric, {}).get(key))


def _errors(case: Mapping[str, Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for run in case["repetitions"]:
        found.update(run["errors"])
    return found


def _rates(case: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": case["label"],
        "requests": sum(run["requests"] for run in case["repetitions"]),
        "errors": sum(_errors(case).values()),
        "tokens/s": _mean(case, "output_tokens_per_second"),
        "+-": _mean(case, "output_tokens_per_second", "half_width"),
        "prompt t/s": _mean(case, "prompt_tokens_per_second"),
        "all t/s": _mean(case, "total_output_tokens_per_second"),
        "requests/s": _mean(case, "requests_per_second"),
        "goodput": _mean(case, "goodput"),
    }


def _times(case: Mapping[str, Any]) -> dict[str, Any]:
    made = {"case": case["label"]}
    for name, metric in _TIMED.items():
        for place in ("p50", "p95", "p99"):
            made[f"{name} {place}"] = _shown(case["metrics"].get(metric, {}).get(place))
    return made


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"aimed at": row["target"], "acceptable": row["acceptable"], "critical": row["critical"]}
    named = {"target": row["metric"], "verdict": row["level"], "unit": row["unit"], "case": row["case"]}
    return {**named, "value": _shown(row["value"]), **{name: _shown(value) for name, value in limits.items()}}


def table(document: Mapping[str, Any]) -> str:
    """Return the tables of a document: rates, times in milliseconds, verdicts, and errors if there are any."""
    cases, endpoint = document["cases"], document["endpoint"]
    failed = [
        {"case": case["label"], "failed": count, "error": plain(error)}
        for case in cases
        for error, count in _errors(case).most_common()
    ]
    parts = [
        f"{endpoint['kind']} {endpoint['url']}, model {plain(endpoint['model'])}, {document['started']}",
        text_table([_rates(case) for case in cases], _RATES),
        "Milliseconds of all requests:\n" + text_table([_times(case) for case in cases], _TIMES),
        text_table([_verdict(row) for row in document["verdicts"]], _VERDICTS),
    ]
    if failed:
        parts.append(text_table(failed, _ERRORS))
    if not document["complete"]:
        parts.append("The time limit ended the benchmark before its last repetition (benchmark_time_limit).")
    return "\n\n".join(parts)


def _change(row: Mapping[str, Any]) -> dict[str, Any]:
    percent = row["change_percent"]
    return {
        **row,
        "before": _shown(row["before"]),
        "after": _shown(row["after"]),
        "change": "" if percent is None else f"{percent:+.1f} %",
    }


def changes(compared: Mapping[str, Any]) -> str:
    """Return the table of a comparison: what changed beyond noise, and what else differs."""
    rows = compared["rows"]
    counts = Counter(row["verdict"] for row in rows)
    changed = [_change(row) for row in rows if row["verdict"] in (BETTER, WORSE)]
    parts = [text_table(changed, _CHANGES)] if changed else ["Nothing changed beyond noise."]
    parts.append(
        f"{counts[BETTER]} better, {counts[WORSE]} worse, {counts[SAME]} within noise, "
        f"{counts[UNKNOWN]} with too few repetitions to judge."
    )
    for key, text in (
        ("conditions", "Conditions that differ"),
        ("only_before", "Cases of the first file only"),
        ("only_after", "Cases of the second file only"),
    ):
        if compared[key]:
            parts.append(f"{text}: {plain(', '.join(compared[key]))}")
    return "\n\n".join(parts)
