# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the cases of a benchmark through a function that sends requests.

Before the cases, some small requests show how long a request takes that has no prompt to compute, and how many tokens
the engine counts for words of filler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ...errors import RemoteFailureError
from ..cases import SIZED, Case, runs
from ..results import CaseResult, RunResult, pooled, run_result
from ..settings import Plan
from . import prompts
from .request_timing import RequestTiming

#: Sends, for each client, its requests one after the other. All clients start together.
Send = Callable[[Sequence[Sequence[Mapping[str, Any]]]], Sequence[RequestTiming]]

_LATENCY_REQUESTS, _LATENCY_TOKENS = 5, 8
_FILLER_WORDS = 400
_REMEDY = "read the log of the engine, or name another endpoint, model or key"


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    :ivar latency_ms: what a request takes that has no prompt to compute.
    :ivar is_complete: whether every repetition was measured before the time limit.
    """

    latency_ms: float
    results: list[CaseResult]
    is_complete: bool


@dataclass
class _Collected:
    runs: list[RunResult] = field(default_factory=list)
    requests: list[RequestTiming] = field(default_factory=list)


class Measuring:
    """Measures a plan.

    :param send: sends requests and returns their times.
    :param model: name of the model in each request.
    :param seed: text that no other benchmark has; prompts depend on it, so no engine has them in its cache.
    """

    def __init__(self, plan: Plan, send: Send, model: str, seed: str) -> None:
        self._plan = plan
        self._send = send
        self._model = model
        self._seed = seed
        self._words_measured = 0

    @property
    def _needs_words(self) -> bool:
        return any(case.kind == SIZED or case.depth for case in self._plan.cases)

    @property
    def request_count(self) -> int:
        """Return the number of all requests, for progress."""
        return self._plan.request_count + _LATENCY_REQUESTS + self._needs_words

    def measure(self, started: Callable[[str], None], is_over: Callable[[], bool] = lambda: False) -> Measurement:
        """Measure every case.

        :param started: called with the name of each phase before it begins.
        :param is_over: returns whether the time limit has passed; asked before each repetition.
        :raises RemoteFailureError: if the endpoint answers none of the first requests, or no case in its warm-up.
        """
        started("latency")
        latency_ms = self._latency_ms()
        if self._needs_words:
            started("tokens of the filler")
            self._words_measured = self._first(prompts.sized(_FILLER_WORDS, f"{self._seed}:words"), 2).prompt_tokens
        collected = {case: _Collected() for case in self._plan.cases}
        failures: dict[Case, str] = {}
        is_complete = True
        for run in runs(self._plan.cases, self._plan.repetitions):
            if is_over():
                is_complete = False
                break
            if run.repetition == 1 and len(failures) == len(self._plan.cases):
                break
            started(f"{run.case.label}, " + (f"repetition {run.repetition}" if run.repetition else "warm-up"))
            found = self._send(self._clients(run.case, run.repetition))
            if run.repetition:
                collected[run.case].runs.append(run_result(found, self._plan.objective, latency_ms))
                collected[run.case].requests += found
            elif not any(one.succeeded for one in found):
                failures[run.case] = found[0].error
        if len(failures) == len(self._plan.cases):
            raise RemoteFailureError.plain(
                f"No request of the warm-up succeeded ({failures[self._plan.cases[0]]})", _REMEDY
            )
        results = [
            CaseResult(case, one.runs, pooled(one.requests, latency_ms)) for case, one in collected.items() if one.runs
        ]
        return Measurement(latency_ms, results, is_complete)

    def _latency_ms(self) -> float:
        found = [
            self._first(prompts.greeting(f"{self._seed}:latency:{number}"), _LATENCY_TOKENS).ttfr_ms
            for number in range(_LATENCY_REQUESTS)
        ]
        return median(one for one in found if one is not None)

    def _first(self, prompt: str, tokens: int) -> RequestTiming:
        """Send one request of the preparation, which has to succeed."""
        (found,) = self._send([[self._body([_said("user", prompt)], tokens)]])
        if not found.succeeded:
            raise RemoteFailureError.plain(f"The endpoint does not answer a short request ({found.error})", _REMEDY)
        return found

    def _clients(self, case: Case, repetition: int) -> list[list[dict[str, Any]]]:
        return [
            [
                self._request(case, f"{self._seed}:{case.label}:{repetition}:{client}:{number}")
                for number in range(self._plan.requests)
            ]
            for client in range(case.clients)
        ]

    def _words(self, tokens: int) -> int:
        return prompts.words_for(tokens, _FILLER_WORDS, self._words_measured)

    def _request(self, case: Case, seed: str) -> dict[str, Any]:
        messages = []
        if case.depth:
            # The context comes first, with the number that makes it unknown to the engine's cache.
            messages += [_said("user", prompts.sized(self._words(case.depth), f"{seed}:depth"))]
            messages += [_said("assistant", prompts.READ)]
        if case.kind == SIZED:
            messages.append(_said("user", prompts.sized(self._words(case.prompt_tokens), seed)))
        else:
            messages.append(_said("user", prompts.fixed(case.kind, seed)))
        made = self._body(messages, case.output_tokens)
        # An answer to filler may end at once. llama.cpp and vLLM then generate as many tokens as asked for.
        return {**made, "ignore_eos": True} if case.kind == SIZED else made

    def _body(self, messages: Sequence[Mapping[str, str]], tokens: int) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": list(messages),
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
