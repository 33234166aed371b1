# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge measured values by a site's targets.

The default table is that of document 001, "Expected Metrics (Q8_0 on 3x V100S)", which document 002 repeats. A value
that lies between two levels, such as 9 tokens per second where 10 are acceptable and 8 are critical, is C(poor).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidInputError
from ..values import finite

TARGET, ACCEPTABLE, POOR, CRITICAL, UNKNOWN = "target", "acceptable", "poor", "critical", "unknown"


@dataclass(frozen=True)
class Target:
    """Limits of one metric.

    :ivar target: the value that is aimed at.
    :ivar acceptable: the least good value that is still acceptable.
    :ivar critical: from this value on, something is wrong.
    :ivar more_is_better: whether larger values are better.
    """

    unit: str
    target: float
    acceptable: float
    critical: float
    more_is_better: bool


#: Decimal gigabytes and gigabits, as in the documents. The throughput is that of one user.
DEFAULTS: Mapping[str, Target] = {
    "output_tokens_per_second": Target("tokens/s", 15, 10, 8, True),
    "time_to_first_token_s": Target("s", 2, 5, 10, False),
    "gpu_utilization_percent": Target("%", 70, 50, 40, True),
    "gpu_memory_gb": Target("GB", 28, 30, 30, False),
    "network_gbps": Target("Gbit/s", 50, 30, 20, True),
}


def level(value: float | None, limits: Target) -> str:
    """Return the level of a value: C(target), C(acceptable), C(poor), C(critical), or C(unknown) without a value."""
    if value is None:
        return UNKNOWN
    sign = 1 if limits.more_is_better else -1
    found, target, acceptable, critical = (
        sign * one for one in (value, limits.target, limits.acceptable, limits.critical)
    )
    if found >= target:
        return TARGET
    if found >= acceptable:
        return ACCEPTABLE
    return POOR if found >= critical else CRITICAL


def with_changes(changes: Mapping[str, Mapping[str, float]]) -> dict[str, Target]:
    """Return the default targets with a site's own limits over them.

    :param changes: C(target), C(acceptable) and C(critical) by name of the metric; each may be left out.
    :raises InvalidInputError: for an unknown metric or limit, for a value that is no number from 0, and for limits
        whose order contradicts the metric.
    """
    made = dict(DEFAULTS)
    for name, given in changes.items():
        if name not in made:
            raise InvalidInputError(f"targets for {', '.join(DEFAULTS)}", repr(name), "correct benchmark_targets")
        made[name] = _changed(name, made[name], given)
    return made


def _changed(name: str, base: Target, given: Mapping[str, float]) -> Target:
    limits = {"target": base.target, "acceptable": base.acceptable, "critical": base.critical}
    for key, value in given.items():
        if key not in limits or finite(value) is None:
            raise InvalidInputError(
                f"target, acceptable and critical of {name} as numbers from 0",
                f"{key}: {value!r}",
                "correct benchmark_targets",
            )
        limits[key] = value
    ordered = sorted(limits.values(), reverse=base.more_is_better)
    if ordered != list(limits.values()):
        word = "falling" if base.more_is_better else "rising"
        raise InvalidInputError(
            f"{word} values for target, acceptable and critical of {name}",
            ", ".join(f"{key} {value:g}" for key, value in limits.items()),
            "correct benchmark_targets",
        )
    return Target(base.unit, limits["target"], limits["acceptable"], limits["critical"], base.more_is_better)
