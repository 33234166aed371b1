# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of the load client, against an endpoint whose delays are known.

One test runs on a virtual clock, which the endpoint advances: there the times are exact, however busy the machine is.
Another runs on the real clock, and compares with the times at which the endpoint wrote. There both share a thread, so
that another process can rarely come between a write and its read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests.request_timing import RequestTiming
from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports.benchmark.load_client import Endpoint, LoadClient
from tests.unit.ports.benchmark.endpoint_double import KEY, Double, VirtualClock, in_a_thread

#: Runs on the real clock until one is undisturbed by other processes.
ATTEMPTS = 20


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with in_a_thread(Double()) as made:
        yield made


@pytest.fixture
def client(double: Double) -> LoadClient:
    double.answers.clear()
    return LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", KEY), 20.0)


def body(kind: str, tokens: int = 20) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": kind}], "max_tokens": tokens, "stream": True}


@pytest.fixture
def clock(double: Double) -> Iterator[VirtualClock]:
    double.clock = VirtualClock()
    yield double.clock
    double.clock = None


def test_times_are_exact_on_a_virtual_clock(double: Double, clock: VirtualClock) -> None:
    client = LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", KEY), 20.0, clock)
    (timing,) = client.run([[body("thinks", 50)]])
    assert timing.error == ""
    assert (timing.prompt_tokens, timing.cached_tokens, timing.output_tokens) == (7, 3, 50)
    assert timing.ttfr_ms == pytest.approx(200)
    assert timing.ttft_ms == pytest.approx(220)
    assert timing.ttfot_ms == pytest.approx(220 + 25 * 20)
    assert timing.itl_ms == pytest.approx(20)
    assert timing.output_tokens_per_second == pytest.approx(50)
    assert timing.tpot_ms == pytest.approx((200 + 50 * 20) / 50)
    assert timing.request_latency_ms == pytest.approx(200 + 50 * 20)


def deviations(timing: RequestTiming, seen: dict[str, Any]) -> list[float]:
    """Return how far each measured time is from the endpoint's own, as parts of it."""
    start, written = seen["asked"], seen["tokens"]
    pairs = (
        (timing.ttfr_ms, seen["first_response"] - start),
        (timing.ttft_ms, written[0] - start),
        (timing.ttfot_ms, written[25] - start),
        (timing.itl_ms, (written[-1] - written[0]) / (len(written) - 1)),
    )
    assert all(found is not None for found, _own in pairs)
    return [abs(found / 1000 / own - 1) for found, own in pairs if found is not None]


def test_times_on_the_real_clock_are_within_two_percent() -> None:
    double = Double()

    async def attempt() -> float:
        runner = await double.start()
        try:
            client = LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", KEY), 20.0)
            (timing,) = await client.run_in_loop([[body("thinks", 50)]])
            return max(deviations(timing, double.answers.pop()))
        finally:
            await runner.cleanup()

    found: list[float] = []
    while not found or (found[-1] > 0.02 and len(found) < ATTEMPTS):
        found.append(asyncio.run(attempt()))
    assert found[-1] <= 0.02, f"largest deviation of each attempt: {found}"


def test_clients_run_together_and_each_sends_its_requests_in_turn(client: LoadClient, double: Double) -> None:
    done: list[int] = []
    timings = client.run([[body("answers", 5), body("answers", 5)] for _client in range(8)], lambda: done.append(1))
    assert [timing.error for timing in timings] == [""] * 16
    assert len(done) == 16
    firsts, seconds = timings[0::2], timings[1::2]
    assert max(one.start for one in firsts) < min(one.end for one in firsts)
    assert all(second.start >= first.end for first, second in zip(firsts, seconds, strict=True))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cut", "the connection failed (ClientPayloadError)"),
        ("no usage", "the stream holds no count of its tokens (usage)"),
        ("redirect", "302: no message"),
    ],
)
def test_failed_requests_have_a_reason(client: LoadClient, kind: str, error: str) -> None:
    (timing,) = client.run([[body(kind)]])
    assert timing.error == error


def test_silent_endpoint_is_given_up(double: Double) -> None:
    client = LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", KEY), 0.5)
    (timing,) = client.run([[body("silent")]])
    assert timing.error == "the endpoint is silent"


def test_wrong_key_is_said_in_the_words_of_the_api(double: Double) -> None:
    client = LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", "wrong"), 20.0)
    (timing,) = client.run([[body("answers")]])
    assert timing.error == "401: Invalid API key"


def test_closed_port_is_a_failed_request() -> None:
    (timing,) = LoadClient(Endpoint("http://127.0.0.1:1"), 20.0).run([[body("answers")]])
    assert timing.error == "no connection (Connection refused)"


def test_models_are_listed(client: LoadClient) -> None:
    assert client.models() == ["tiny"]


@pytest.mark.parametrize("models", [[], {"data": []}, {"data": [{"id": 7}]}, {"data": {"id": "tiny"}}, "tiny"])
def test_endpoint_without_a_list_of_models_is_refused(client: LoadClient, double: Double, models: Any) -> None:
    found = double.models
    double.models = models
    try:
        with pytest.raises(RemoteFailureError, match="lists no model"):
            client.models()
    finally:
        double.models = found
