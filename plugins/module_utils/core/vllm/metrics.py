# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a user wants to know from vLLM's metrics: requests, cache, tokens, and the time to the first token.

The names are those of vLLM 0.32.0 (prefix C(vllm:)). A histogram gives quantiles by interpolation in its buckets.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..text import plain
from ..values import finite

_LINE = re.compile(r"vllm:(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_BOUND = re.compile(r'le="([^"]+)"')
#: Largest number of lines that are read.
MOST_LINES = 50_000
_QUANTILES = (0.5, 0.95)
#: Counters of finished work, and gauges of requests in the engine.
_TOKENS = frozenset({"generation_tokens_total", "prompt_tokens_total"})
_REQUESTS = frozenset({"num_requests_running", "num_requests_waiting"})


@dataclass(frozen=True)
class Counters:
    """Tokens so far, and requests in the engine; None if the engine does not say."""

    tokens: float | None = None
    busy: int | None = None


@dataclass(frozen=True)
class Metrics:
    """Values of one moment. Times are in seconds; None is unknown.

    :ivar cache_use: share of the key-value cache in use, from 0 to 1.
    """

    running: int = 0
    waiting: int = 0
    cache_use: float = 0.0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    finished: Mapping[str, int] | None = None
    first_token_s: Mapping[str, float | None] | None = None
    token_s: Mapping[str, float | None] | None = None

    def as_data(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return dict(vars(self))

    def rate(self, before: Metrics, seconds: float) -> float:
        """Return the generated tokens a second since an earlier moment; 0 after a restart."""
        made = self.generated_tokens - before.generated_tokens
        return round(made / seconds, 2) if made > 0 and seconds > 0 else 0.0


def _quantiles(buckets: Mapping[float, float]) -> dict[str, float | None]:
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    found: dict[str, float | None] = {}
    for quantile in _QUANTILES:
        found[f"p{round(quantile * 100)}"] = _at(buckets, bounds, quantile * total) if total else None
    return found


def _at(buckets: Mapping[float, float], bounds: list[float], rank: float) -> float | None:
    low, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if math.isinf(bound):
                return low
            share = (rank - below) / (count - below) if count > below else 1.0
            return round(low + (bound - low) * share, 4)
        low, below = bound, count
    return None


def _samples(text: str) -> Iterator[tuple[str, str, float]]:
    """Yield name, labels and value of each of vLLM's lines. Values out of range, such as NaN, are left out."""
    for line in text.splitlines()[:MOST_LINES]:
        if found := _LINE.match(line):
            value = _number(found["value"])
            if value is not None:
                yield found["name"], found["labels"] or "", value


def _number(text: str) -> float | None:
    try:
        return finite(float(text))
    except ValueError:
        return None


def counters(text: str) -> Counters:
    """Read the counters of the text of C(/metrics)."""
    tokens: float | None = None
    busy: int | None = None
    for name, _labels, value in _samples(text):
        if name in _TOKENS:
            tokens = (tokens or 0.0) + value
        elif name in _REQUESTS:
            busy = (busy or 0) + int(value)
    return Counters(tokens, busy)


def parse(text: str) -> Metrics:
    """Read the text of C(/metrics); values of several engines are added up, the cache's share is the highest."""
    sums: dict[str, float] = defaultdict(float)
    highest: dict[str, float] = defaultdict(float)
    finished: dict[str, int] = defaultdict(int)
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for name, labels, value in _samples(text):
        if name.endswith("_bucket") and (found := _BOUND.search(labels)):
            bound = math.inf if found[1] == "+Inf" else _number(found[1])
            if bound is not None:
                buckets[name[: -len("_bucket")]][bound] += value
            continue
        if name == "request_success_total" and (reason := re.search(r'finished_reason="([^"]+)"', labels)):
            finished[plain(reason[1])] += int(value)
        sums[name] += value
        highest[name] = max(highest[name], value)
    return Metrics(
        running=int(sums["num_requests_running"]),
        waiting=int(sums["num_requests_waiting"]),
        cache_use=round(highest["kv_cache_usage_perc"], 4),
        prompt_tokens=int(sums["prompt_tokens_total"]),
        generated_tokens=int(sums["generation_tokens_total"]),
        preemptions=int(sums["num_preemptions_total"]),
        finished=dict(finished),
        first_token_s=_quantiles(buckets["time_to_first_token_seconds"]),
        token_s=_quantiles(buckets["inter_token_latency_seconds"]),
    )


def text(metrics: Metrics, rate: float | None) -> str:
    """Return the values as lines for people."""

    def time(values: Mapping[str, float | None] | None, name: str) -> str:
        value = (values or {}).get(name)
        return "unknown" if value is None else f"{value:.3f} s"

    done = (
        ", ".join(f"{count} {reason}" for reason, count in sorted((metrics.finished or {}).items()) if count) or "none"
    )
    lines = [
        f"requests          {metrics.running} running, {metrics.waiting} waiting",
        f"finished          {done}",
        f"key-value cache   {metrics.cache_use * 100:.1f} % in use, {metrics.preemptions} preemptions",
        f"tokens            {metrics.prompt_tokens} read, {metrics.generated_tokens} generated",
        f"first token       {time(metrics.first_token_s, 'p50')} (median), {time(metrics.first_token_s, 'p95')} (95 %)",
        f"between tokens    {time(metrics.token_s, 'p50')} (median), {time(metrics.token_s, 'p95')} (95 %)",
    ]
    if rate is not None:
        lines.append(f"generation        {rate:g} tokens a second now")
    return "\n".join(lines)
