# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the results of a benchmark: one verdict for each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .targets import Target, level


def _one_user(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the cases that the targets of one user apply to: those with the fewest clients and the least context."""
    least = min(((case["clients"], case["depth"]) for case in cases), default=(0, 0))
    return [case for case in cases if (case["clients"], case["depth"]) == least]


def _worst(cases: Sequence[Mapping[str, Any]], metric: str, factor: float, is_more: bool) -> tuple[float | None, str]:
    found = [(case["means"][metric]["mean"] * factor, case["label"]) for case in cases if metric in case["means"]]
    if not found:
        return None, ""
    return min(found) if is_more else max(found)


def verdicts(
    cases: Sequence[Mapping[str, Any]], nodes: Mapping[str, float | None], limits: Mapping[str, Target]
) -> list[dict[str, Any]]:
    """Return a row for each target: C(metric), C(case), C(value), C(unit), C(level), and the limits.

    The slowest case of one user counts. A value of the nodes belongs to all cases.

    :param nodes: values of the targets that the nodes measure; a missing one is unknown.
    """
    one_user = _one_user(cases)
    found: dict[str, tuple[float | None, str]] = {
        "output_tokens_per_second": _worst(one_user, "output_tokens_per_second", 1.0, True),
        "time_to_first_token_s": _worst(one_user, "ttft_ms", 0.001, False),
    }
    rows = []
    for name, target in limits.items():
        value, case = found.get(name, (nodes.get(name), ""))
        limit = {key: one for key, one in asdict(target).items() if key in ("target", "acceptable", "critical")}
        row = {"metric": name, "case": case, "value": value, "unit": target.unit, "level": level(value, target)}
        rows.append({**row, **limit})
    return rows
