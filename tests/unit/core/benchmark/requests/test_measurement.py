# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements through a double of the function that sends requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import settings
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests import measurement, prompts
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests.request_timing import RequestTiming
from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError

GIVEN = {
    "prompts": ["short"],
    "prompt_tokens": [1000],
    "depths": [0],
    "clients": [2],
    "output_tokens": 64,
    "requests": 3,
    "repetitions": 2,
}


class Endpoint:
    """A double that counts two tokens for each word and answers after half a second."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.sent: list[list[list[dict[str, Any]]]] = []

    def send(self, clients: Sequence[Sequence[Mapping[str, Any]]]) -> list[RequestTiming]:
        self.sent.append([[dict(body) for body in client] for client in clients])
        return [self.answer(body) for client in clients for body in client]

    def answer(self, body: Mapping[str, Any]) -> RequestTiming:
        words = sum(len(message["content"].split()) for message in body["messages"])
        is_short = words < 10
        if self.error and not is_short:
            return RequestTiming(0, 1, error=self.error)
        first = 0.02 if is_short else 0.5
        return RequestTiming(0, 1.5, first, first, first, 1.5, prompt_tokens=2 * words, output_tokens=11)

    def bodies(self) -> list[dict[str, Any]]:
        return [body for clients in self.sent for client in clients for body in client]


def measure(endpoint: Endpoint, **changes: Any) -> measurement.Measurement:
    plan = settings.plan({**GIVEN, **changes})
    return measurement.Measuring(plan, endpoint.send, "strand", "now").measure(lambda _phase: None)


def test_warm_up_is_sent_and_not_counted() -> None:
    endpoint = Endpoint()
    found = measure(endpoint)
    (case,) = found.results
    assert [run.requests for run in case.runs] == [6, 6]
    assert [len(clients) for clients in endpoint.sent] == [1] * 5 + [2] * 3
    assert case.summaries["ttft_ms"].count == 12
    assert found.is_complete


def test_latency_is_taken_off_the_prompt_rate() -> None:
    found = measure(Endpoint())
    assert found.latency_ms == 20
    words = len(prompts.fixed("short", "any").split())
    rate = found.results[0].summaries["prompt_tokens_per_second"].mean
    assert rate == pytest.approx(2 * words / 0.48)


def test_no_prompt_is_sent_twice() -> None:
    endpoint = Endpoint()
    measure(endpoint, prompts=["short", "sized"])
    asked = [str(body["messages"]) for body in endpoint.bodies()]
    assert len(set(asked)) == len(asked)


def test_sized_prompts_and_contexts_have_their_tokens() -> None:
    endpoint = Endpoint()
    measure(endpoint, prompts=["sized"], depths=[4000])
    body = endpoint.bodies()[-1]
    context, _read, prompt = body["messages"]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert 2 * len(prompt["content"].split()) == pytest.approx(1000, rel=0.03)
    assert 2 * len(context["content"].split()) == pytest.approx(4000, rel=0.03)
    assert body["ignore_eos"] is True


def test_requests_ask_for_a_stream_with_usage() -> None:
    endpoint = Endpoint()
    measure(endpoint)
    body = endpoint.bodies()[-1]
    assert (body["model"], body["max_tokens"], body["stream"]) == ("strand", 64, True)
    assert body["stream_options"] == {"include_usage": True}
    assert "ignore_eos" not in body


def test_endpoint_that_refuses_every_case_ends_after_the_warm_up() -> None:
    endpoint = Endpoint("400: the context is too small")
    with pytest.raises(RemoteFailureError, match="400: the context is too small"):
        measure(endpoint, prompts=["short", "code"])
    assert len(endpoint.sent) == 5 + 2


def test_endpoint_that_refuses_one_case_goes_on() -> None:
    class Small(Endpoint):
        def answer(self, body: Mapping[str, Any]) -> RequestTiming:
            if len(body["messages"]) > 1:
                return RequestTiming(0, 1, error="400: the context is too small")
            return super().answer(body)

    first, second = measure(Small(), depths=[0, 9000]).results
    assert (first.runs[0].errors, second.runs[0].errors) == ({}, {"400: the context is too small": 6})


def test_endpoint_that_refuses_a_short_request_is_given_up_at_once() -> None:
    class Closed(Endpoint):
        def answer(self, body: Mapping[str, Any]) -> RequestTiming:
            return RequestTiming(0, 1, error="401: Invalid API key")

    with pytest.raises(RemoteFailureError, match="does not answer a short request \\(401: Invalid API key\\)"):
        measure(Closed())


def test_time_limit_keeps_what_was_measured() -> None:
    endpoint = Endpoint()
    plan = settings.plan(GIVEN)
    # Two runs have begun: the warm-up and the first repetition.
    found = measurement.Measuring(plan, endpoint.send, "strand", "now").measure(
        lambda _phase: None, lambda: len(endpoint.sent) >= 5 + 2
    )
    assert not found.is_complete
    assert [len(case.runs) for case in found.results] == [1]


def test_progress_knows_the_number_of_requests() -> None:
    endpoint = Endpoint()
    plan = settings.plan({**GIVEN, "prompts": ["short", "sized"]})
    measuring = measurement.Measuring(plan, endpoint.send, "strand", "now")
    measuring.measure(lambda _phase: None)
    assert measuring.request_count == len(endpoint.bodies())
