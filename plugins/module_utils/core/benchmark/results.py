# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sum up the requests of one run, and the runs of one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .cases import Case
from .definitions import REQUEST_METRICS, RUN_METRICS
from .requests.request_timing import RequestTiming
from .summaries import MeanInterval, Summary, mean_interval, summary


@dataclass(frozen=True)
class Objective:
    """What a request has to meet to count as goodput; a limit of None demands nothing.

    :ivar ttft_ms: longest time to the first token, in milliseconds.
    :ivar itl_ms: longest mean time between two tokens, in milliseconds.
    :ivar request_latency_ms: longest time of the whole request, in milliseconds.
    """

    ttft_ms: float | None = None
    itl_ms: float | None = None
    request_latency_ms: float | None = None

    def met_by(self, request: RequestTiming) -> bool:
        """Return whether a request succeeded within every limit. A missing time misses its limit."""
        pairs = (
            (self.ttft_ms, request.ttft_ms),
            (self.itl_ms, request.itl_ms),
            (self.request_latency_ms, request.request_latency_ms),
        )
        return request.succeeded and all(
            limit is None or (found is not None and found <= limit) for limit, found in pairs
        )


@dataclass(frozen=True)
class RunResult:
    """Figures of one run.

    :ivar seconds: from the first request to the end of the last.
    :ivar errors: number of failed requests by reason.
    :ivar summaries: by name of C(REQUEST_METRICS); a metric without samples is missing.
    :ivar totals: by name of C(RUN_METRICS).
    """

    requests: int
    seconds: float
    errors: dict[str, int] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseResult:
    """The repetitions of one case.

    :ivar summaries: of the requests of all repetitions together.
    """

    case: Case
    runs: Sequence[RunResult]
    summaries: dict[str, Summary]


def _samples(requests: Sequence[RequestTiming], name: str, latency_ms: float) -> list[float]:
    if name == "prompt_tokens_per_second":
        found = [one.prompt_tokens_per_second(latency_ms) for one in requests]
    else:
        found = [getattr(one, name) for one in requests]
    return [one for one in found if one is not None]


def pooled(requests: Sequence[RequestTiming], latency_ms: float) -> dict[str, Summary]:
    """Summarise each metric over the requests that succeeded; a metric without samples is missing."""
    good = [one for one in requests if one.succeeded]
    found = {metric.name: summary(_samples(good, metric.name, latency_ms)) for metric in REQUEST_METRICS}
    return {name: one for name, one in found.items() if one is not None}


def run_result(requests: Sequence[RequestTiming], objective: Objective, latency_ms: float) -> RunResult:
    """Sum up the requests of one run. Failed requests count as errors and in no other figure.

    :param requests: at least one.
    :param latency_ms: what an empty request takes; C(RequestTiming.prompt_tokens_per_second) explains it.
    """
    good = [one for one in requests if one.succeeded]
    seconds = max(one.end for one in requests) - min(one.start for one in requests)
    errors = dict(Counter(one.error for one in requests if one.error))
    made = RunResult(len(requests), seconds, errors, pooled(requests, latency_ms))
    output = sum(one.output_tokens for one in good)
    counts = (
        output,
        output + sum(one.prompt_tokens for one in good),
        len(good),
        sum(objective.met_by(one) for one in good),
    )
    for metric, count in zip(RUN_METRICS, counts):
        made.totals[metric.name] = count / seconds if seconds > 0 else 0.0
    return made


def repeated(runs: Sequence[RunResult]) -> dict[str, MeanInterval]:
    """Return the mean of each metric over the repetitions of a case, with its interval.

    A metric of requests enters with its mean in each run, a metric of runs with its value.
    """
    made = {}
    for metric in REQUEST_METRICS:
        interval = mean_interval([run.summaries[metric.name].mean for run in runs if metric.name in run.summaries])
        if interval is not None:
            made[metric.name] = interval
    for metric in RUN_METRICS:
        interval = mean_interval([run.totals[metric.name] for run in runs])
        if interval is not None:
            made[metric.name] = interval
    return made
