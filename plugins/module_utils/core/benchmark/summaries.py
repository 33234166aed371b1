# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarise samples: mean, percentiles, the interval of a mean, and whether two means differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

#: Two-sided 95 % quantiles of Student's distribution, by degrees of freedom. Between two rows the smaller number of
#: degrees applies, so an interval is never too narrow. Source: NIST/SEMATECH e-Handbook of Statistical Methods,
#: 1.3.6.7.2, column 0.975.
STUDENT_95 = (
    (1, 12.706),
    (2, 4.303),
    (3, 3.182),
    (4, 2.776),
    (5, 2.571),
    (6, 2.447),
    (7, 2.365),
    (8, 2.306),
    (9, 2.262),
    (10, 2.228),
    (12, 2.179),
    (15, 2.131),
    (20, 2.086),
    (30, 2.042),
    (60, 2.000),
    (120, 1.980),
)


@dataclass(frozen=True)
class Summary:
    """Summary of the samples of one metric, in the unit of the metric."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    least: float
    most: float


@dataclass(frozen=True)
class MeanInterval:
    """Mean of repetitions and its 95 % confidence interval.

    :ivar half_width: half of the interval's width; infinite with fewer than two repetitions.
    """

    count: int
    mean: float
    half_width: float

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile by linear interpolation between the two nearest samples, as numpy's default does.

    :param samples: at least one sample, in any order.
    :param percent: 0 to 100.
    """
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summary(samples: Sequence[float]) -> Summary | None:
    """Summarise samples; None without any."""
    if not samples:
        return None
    return Summary(
        len(samples),
        fmean(samples),
        percentile(samples, 50),
        percentile(samples, 95),
        percentile(samples, 99),
        min(samples),
        max(samples),
    )


def student(degrees: float) -> float:
    """Return the two-sided 95 % quantile of Student's distribution for at least one degree of freedom."""
    found = STUDENT_95[0][1]
    for least, value in STUDENT_95:
        if degrees < least:
            break
        found = value
    return found


def mean_interval(repetitions: Sequence[float]) -> MeanInterval | None:
    """Return the mean of repetitions and its interval; None without any.

    Repetitions are means of whole runs. Requests of one run are not independent: they share a cache and a queue.
    """
    if not repetitions:
        return None
    count = len(repetitions)
    if count < 2:
        return MeanInterval(count, repetitions[0], math.inf)
    half = student(count - 1) * math.sqrt(variance(repetitions) / count)
    return MeanInterval(count, fmean(repetitions), half)


def differ(first: Sequence[float], second: Sequence[float]) -> bool | None:
    """Decide whether two means differ beyond noise, by Welch's test at 95 %.

    :returns: None if one of them has fewer than two repetitions: nothing is known of its noise.
    """
    if len(first) < 2 or len(second) < 2:
        return None
    parts = [variance(group) / len(group) for group in (first, second)]
    gap = abs(fmean(first) - fmean(second))
    together = sum(parts)
    if together == 0:
        return gap > 0
    # Welch-Satterthwaite: the degrees of freedom of two groups with variances of their own.
    degrees = together**2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, (first, second)))
    return gap > student(degrees) * math.sqrt(together)
