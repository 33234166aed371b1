# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare two results of a benchmark, and say what changed beyond noise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InvalidInputError
from ..values import finite
from .definitions import REQUEST_METRICS, RUN_METRICS
from .document import FORMAT
from .summaries import differ

BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "within noise", "too few repetitions"
_MORE_IS_BETTER = {metric.name: metric.more_is_better for metric in (*REQUEST_METRICS, *RUN_METRICS)}
_REMEDY = "name a file that playbooks/benchmark.yml wrote"


def _values(case: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the value of each repetition by metric."""
    made: dict[str, list[float]] = {}
    for run in case.get("repetitions") or ():
        rows = {**run.get("totals", {}), **{name: one.get("mean") for name, one in run.get("metrics", {}).items()}}
        for name, value in rows.items():
            if name in _MORE_IS_BETTER and finite(value) is not None:
                made.setdefault(name, []).append(float(value))
    return made


def _parsed(given: Any, name: str) -> Any:
    """Return a document, which may be the text of its file."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise InvalidInputError(f"a result of format {FORMAT!r} in {name}", f"no JSON ({error})", _REMEDY) from error


def _cases(document: Any, name: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, Mapping) else type(document).__name__
        raise InvalidInputError(f"a result of format {FORMAT!r} in {name}", repr(found)[:80], _REMEDY)
    try:
        return {str(case["label"]): case for case in document["cases"] if _values(case)}
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidInputError(f"cases with repetitions in {name}", f"{type(error).__name__}", _REMEDY) from error


def _verdict(name: str, before: list[float], after: list[float]) -> str:
    changed = differ(before, after)
    if changed is None:
        return UNKNOWN
    if not changed:
        return SAME
    grew = sum(after) / len(after) > sum(before) / len(before)
    return BETTER if grew == _MORE_IS_BETTER[name] else WORSE


def _rows(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for label in (one for one in old if one in new):
        before, after = _values(old[label]), _values(new[label])
        for name in (one for one in _MORE_IS_BETTER if one in before and one in after):
            was, now = (sum(one) / len(one) for one in (before[name], after[name]))
            yield {
                "case": label,
                "metric": name,
                "before": was,
                "after": now,
                "change_percent": (now - was) * 100 / was if was else None,
                "verdict": _verdict(name, before[name], after[name]),
            }


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*map(str, old), *map(str, new)}):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield path


def compare(old: Any, new: Any) -> dict[str, Any]:
    """Compare two documents, or the texts of their files.

    :returns: C(rows), one for each metric of each case that both have; C(only_before) and C(only_after), labels of
        cases that one of them lacks; C(conditions), the names of conditions that differ.
    :raises InvalidInputError: if one is no such document.
    """
    old, new = _parsed(old, "the first file"), _parsed(new, "the second file")
    before, after = _cases(old, "the first file"), _cases(new, "the second file")
    return {
        "rows": list(_rows(before, after)),
        "only_before": [label for label in before if label not in after],
        "only_after": [label for label in after if label not in before],
        "conditions": list(_differences(old.get("conditions"), new.get("conditions"))),
    }
