# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The libraries that users use, each in its newest version: OpenAI's, Anthropic's, LiteLLM's and LangChain's."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import settle
from tests.gateway.environments import python_of
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, ROOT, Engine, Gateway
from tests.gateway.wire import HEAD, TOKEN, chunk, double, instead, json_answer

PROGRAMS = Path(__file__).parent / "programs"
LIBRARIES = ("openai", "anthropic", "litellm", "langchain")
CITY = {"city": "Paris"}
#: Scenarios that need another state of the tiers.
APART = ("tier_away", "stream_cut", "limit")
EVENTS_OF_OPENAI: list[dict[str, Any]] = [
    {"delta": {"role": "assistant", "content": None}},
    {"delta": {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look_up"}}]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ' "Paris"}'}}]}},
    {"delta": {}, "finish_reason": "tool_calls"},
]
USAGE = {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
EVENTS_OF_ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 8, "output_tokens": 1},
        },
    },
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "c1", "name": "look_up", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": '{"city": "Paris"}'},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
]


def tool_answer(request: bytes) -> bytes:
    """Answer as a model that calls the tool, in the API and the kind that the request wants."""
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    # The tool must have come through.
    assert "look_up" in json.dumps(asked["tools"])
    is_anthropic = b"/v1/messages" in request.partition(b"\r\n")[0]
    if asked.get("stream"):
        if is_anthropic:
            events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS_OF_ANTHROPIC]
        else:
            base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            choices = [[{"index": 0, "finish_reason": None, **choice}] for choice in EVENTS_OF_OPENAI]
            events = [f"data: {json.dumps({**base, 'choices': choice})}\n\n" for choice in choices]
            events.append("data: [DONE]\n\n")
        return HEAD + b"".join(chunk(event.encode()) for event in events) + b"0\r\n\r\n"
    if is_anthropic:
        message = {**EVENTS_OF_ANTHROPIC[0]["message"], "stop_reason": "tool_use"}
        return json_answer({**message, "content": [{"type": "tool_use", "id": "c1", "name": "look_up", "input": CITY}]})
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": json.dumps(CITY)}}
    reply = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": reply, "finish_reason": "tool_calls"}
    return json_answer(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
    )


@contextmanager
def tool_engine(made: Gateway) -> Iterator[None]:
    """Replace the fast tier's engine by a double that calls a tool."""
    heard: list[bytes] = []

    def answer(wire: socket.socket) -> None:
        request = heard.pop()
        # The gateway also asks the engine about its model.
        is_chat = request.startswith(b"POST")
        wire.sendall(tool_answer(request) if is_chat else b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with double(answer, heard.append) as port:
        made.ready("fast", port, [FAST_MODEL])
        yield


def run(made: Gateway, library: str, *scenarios: str) -> dict[str, dict[str, Any]]:
    """Run scenarios of a library, all but those that need another state if none is named."""
    if not scenarios:
        names = re.findall(r"@scenario\ndef (\w+)", (PROGRAMS / f"with_{library}.py").read_text(encoding="utf-8"))
        scenarios = tuple(name for name in names if name not in APART)
    given = {**os.environ, "GATEWAY": made.url(path=""), "no_proxy": "*", "PYTHONPATH": str(ROOT)}
    command = [python_of("clients"), str(PROGRAMS / f"with_{library}.py"), *scenarios]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=180)
    assert "\nRESULTS " in done.stdout, done.stdout + done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.rpartition("\nRESULTS ")[2])
    return found


@pytest.fixture(scope="module", params=LIBRARIES)
def results(request: pytest.FixtureRequest, made: Gateway, engines: dict[str, Engine]) -> dict[str, dict[str, Any]]:
    """Run a library once for all tests."""
    with tool_engine(made):
        found = run(made, request.param)
    settle(made, engines)
    return {"library": {"result": request.param}, **found}


def test_an_answer_in_one_piece(results: dict[str, dict[str, Any]]) -> None:
    text, tokens = results["chat"]["result"]
    assert text
    assert tokens == 6


def test_a_stream(results: dict[str, dict[str, Any]]) -> None:
    pieces, tokens = results["stream"]["result"]
    assert pieces >= 15
    assert tokens in (20, None)


def test_a_tool_is_called(results: dict[str, dict[str, Any]]) -> None:
    found = results["tools"]["result"]
    flat = json.dumps(found).replace('\\"', '"')
    assert flat.count("look_up") == 2
    assert flat.count('"city": "Paris"') == 2


@pytest.mark.parametrize("name", ["responses", "completions", "key_as_on_azure", "token_by_header", "count"])
def test_each_other_way_gets_an_answer(results: dict[str, dict[str, Any]], name: str) -> None:
    if name not in results:
        pytest.skip(f"{results['library']['result']} has no such call")
    assert results[name].get("result"), results[name]


def test_the_models_of_all_tiers_are_listed(results: dict[str, dict[str, Any]]) -> None:
    if "models" not in results:
        pytest.skip(f"{results['library']['result']} has no such call")
    ids, one = results["models"]["result"]
    assert {FAST_MODEL, REASONING_MODEL} <= set(ids)
    assert one == REASONING_MODEL
    assert (results["model_missing"]["raised"], results["model_missing"]["status"]) == ("NotFoundError", 404)


@pytest.mark.parametrize(
    ("name", "raised", "status", "said"),
    [
        ("key_wrong", "AuthenticationError", 401, "unknown"),
        ("model_wrong", "NotFoundError", 404, "There is no model"),
        ("prompt_too_long", "BadRequestError", 400, "context"),
        ("embeddings_of_a_chat_model", "BadRequestError", 400, "embeddings"),
    ],
)
def test_a_mistake_raises_the_librarys_own_exception(
    results: dict[str, dict[str, Any]], name: str, raised: str, status: int, said: str
) -> None:
    if name not in results:
        pytest.skip(f"{results['library']['result']} has no such scenario")
    found = results[name]
    # LangChain has subclasses of OpenAI's.
    assert found["raised"] == raised or results["library"]["result"] == "langchain", found
    assert found["status"] == status
    assert said in found["message"]


@pytest.fixture(scope="module", params=LIBRARIES)
def failures(request: pytest.FixtureRequest, made: Gateway, engines: dict[str, Engine]) -> dict[str, dict[str, Any]]:
    """Run a library while one tier is away for long, and the other one's engine ends in the middle of a stream."""
    start = b"event: message_start\ndata: %s\n\n" % json.dumps(EVENTS_OF_ANTHROPIC[0]).encode()

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD + chunk(start if request.param == "anthropic" else TOKEN))
        time.sleep(0.1)
        wire.shutdown(socket.SHUT_RDWR)

    made.unavailable("reasoning", "preempted", "preempted by VASP job 88", 60, expected=time.time() + 1500)
    with instead(made, answer, "fast"):
        found = run(made, request.param, "tier_away", "stream_cut")
    settle(made, engines)
    return found


def test_a_tier_that_is_away_for_long_raises(failures: dict[str, dict[str, Any]]) -> None:
    assert failures["tier_away"].get("raised"), failures
    assert "VASP job 88" in failures["tier_away"]["message"]


def test_a_cut_stream_raises(failures: dict[str, dict[str, Any]]) -> None:
    assert failures["stream_cut"].get("raised"), failures
    assert "ends here" in failures["stream_cut"]["message"]


def test_openais_client_raises_for_too_many_requests(made: Gateway, engines: dict[str, Engine]) -> None:
    found = run(made, "openai", "limit")["limit"]
    assert (found["raised"], found["status"]) == ("RateLimitError", 429)
