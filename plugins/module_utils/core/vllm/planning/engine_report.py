# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what vLLM reports about its memory while it starts, and compare it with the plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...text import size as size_text
from ..memory_plan import GIB, MemoryPlan

_NUMBER = r"(-?[0-9][0-9,]{0,15}(?:\.[0-9]{1,9})?)"
#: Log lines of vLLM 0.11 to 0.33. Workers repeat some of them.
_PATTERNS = {
    "weights": re.compile(rf"Model loading took {_NUMBER} GiB"),
    "cache": re.compile(rf"Available KV cache memory: {_NUMBER} GiB"),
    "tokens": re.compile(rf"[CG]PU KV cache size: {_NUMBER} tokens"),
    "concurrency": re.compile(rf"Maximum concurrency for {_NUMBER} tokens per request: {_NUMBER}x"),
    "graphs": re.compile(
        rf"(?:Estimated CUDA graph memory: |Graph capturing finished in \S+ secs, took ){_NUMBER} GiB"
    ),
    "largest_context": re.compile(rf"the estimated maximum model length is {_NUMBER}"),
}
_LONGEST_LINE = 4000
#: Rounding of numbers that vLLM prints with two digits.
_ROUNDING = GIB // 100


@dataclass
class EngineReport:
    """Values of the log, in bytes and tokens; None until their line was read.

    :ivar weights: of the worker with the most; C(cache) of the worker with the least.
    :ivar context: length of a request to which C(tokens) and C(concurrency) refer.
    :ivar largest_context: vLLM's estimate after a context that does not fit.
    """

    weights: int | None = None
    cache: int | None = None
    tokens: int | None = None
    context: int | None = None
    concurrency: float | None = None
    graphs: int | None = None
    largest_context: int | None = None
    lines: int = field(default=0, compare=False)

    def feed(self, line: str) -> bool:
        """Read a line of the log; return whether it had a value."""
        text, known = line[:_LONGEST_LINE], self.lines
        for name, pattern in _PATTERNS.items():
            found = pattern.search(text)
            if found:
                self.lines += 1
                self._take(name, [_number(part) for part in found.groups()])
        return self.lines > known

    def _take(self, name: str, values: list[float]) -> None:
        if name == "weights":
            self.weights = max(self.weights or 0, int(values[0] * GIB))
        elif name == "cache":
            size = int(values[0] * GIB)
            self.cache = size if self.cache is None else min(self.cache, size)
        elif name == "graphs":
            self.graphs = max(self.graphs or 0, int(values[0] * GIB))
        elif name == "concurrency":
            self.context, self.concurrency = int(values[0]), values[1]
        elif name == "tokens":
            self.tokens = int(values[0])
        else:
            self.largest_context = int(values[0])


def read(lines: Iterable[str]) -> EngineReport:
    """Read the values of a log."""
    report = EngineReport()
    for line in lines:
        report.feed(line)
    return report


def compare(plan: MemoryPlan, report: EngineReport) -> list[str]:
    """Compare the plan with vLLM's values, each in a sentence; nothing for values that the log lacks."""
    found = []
    if report.weights is not None:
        found.append(_weights(plan, report.weights))
    if report.graphs is not None:
        found.append(_bound("CUDA graphs", plan.graphs, report.graphs))
    if report.cache is not None:
        found.append(_cache(plan, report, report.cache))
        if report.concurrency is not None and report.context == plan.context:
            found.append(_concurrency(plan, report.cache, report.concurrency))
    if report.largest_context is not None:
        found.append(
            f"Longest context: planned {plan.largest_context:,} tokens, {report.largest_context:,} by vLLM's estimate."
        )
    return found


def is_too_optimistic(plan: MemoryPlan, report: EngineReport) -> bool:
    """Return whether vLLM has less memory for the cache than the plan promised."""
    return report.cache is not None and report.cache + _ROUNDING < plan.cache


def _weights(plan: MemoryPlan, loaded: int) -> str:
    share = 100 * (loaded - plan.weights) / max(1, plan.weights)
    return f"Weights on a GPU: planned {size_text(plan.weights)}, loaded {size_text(loaded)} ({share:+.1f} %)."


def _bound(what: str, planned: int, found: int) -> str:
    verdict = "within the bound" if found <= planned + _ROUNDING else "above the bound"
    return f"{what}: planned at most {size_text(planned)}, found {size_text(found)}, {verdict}."


def _cache(plan: MemoryPlan, report: EngineReport, available: int) -> str:
    text = f"Cache on a GPU: planned at least {_signed(plan.cache)}, vLLM has {_signed(available)}"
    if is_too_optimistic(plan, report):
        return f"{text}. The plan promised too much: lower max_model_len, or give vLLM a larger share of the GPU."
    return f"{text}."


def _concurrency(plan: MemoryPlan, available: int, found: float) -> str:
    blocks = max(1, plan.request // plan.block)
    planned = max(0, available // plan.block) / blocks
    return (
        f"Requests of {plan.context:,} tokens at a time: {planned:.2f} by the plan's rules for that cache, "
        f"{found:.2f} by vLLM."
    )


def _signed(size: int) -> str:
    return size_text(size) if size >= 0 else f"-{size_text(-size)}"


def _number(text: str) -> float:
    return float(text.replace(",", ""))
