# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time to the first token, and the errors of each API."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import openai
import pytest

from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.wire import HEAD, instead, line_of

LONG = chat(3, model=REASONING_MODEL, stream=True)
LONG["messages"][0]["content"] = "hello " * 7000
PING = b"3\r\n:\n\n\r\n"
ASK = {"messages": [{"role": "user", "content": "hello"}], "model": REASONING_MODEL, "max_tokens": 9, "stream": True}
ASKED = {
    "/v1/chat/completions": ASK,
    "/v1/messages": ASK,
    "/v1/responses": {"input": "hello", "model": REASONING_MODEL, "stream": True},
}


@pytest.mark.parametrize(
    "more",
    [{"sse_ping_interval": 1}, {"return_progress": True}, {"sse_ping_interval": 1, "return_progress": True}],
    ids=["pings", "progress", "both"],
)
def test_keep_alive_comments_are_not_tokens(
    client: Client, made: Gateway, engines: dict[str, Engine], more: dict[str, Any]
) -> None:
    """Keep-alive comments reach the client at once, but are not tokens."""
    other = "hello there " if "return_progress" in more else "hello again "
    body = {**LONG, "cache_prompt": False, "messages": [{"role": "user", "content": other * 1000}], **more}
    began = time.monotonic()
    connection, answer = client.open(body)
    first, text = 0.0, b""
    while b'"content":"' not in text:
        text += answer.readline()
        first = first or time.monotonic() - began
    token = time.monotonic() - began
    text += answer.read()
    connection.close()
    assert text.startswith(b":") or b"prompt_progress" in text.partition(b"\n\n")[0]
    assert text.rstrip().endswith(b"[DONE]")
    # The client sees a moment more than the gateway: what nginx takes for reading the prompt.
    found = line_of(made, answer.headers["X-Request-Id"])
    assert first < found["ttft"] <= token
    assert (token - found["ttft"]) < (token - first) / 2


def test_a_failure_after_a_keep_alive_comment_is_an_error_event(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD + PING)
        time.sleep(0.5)
        wire.sendall(PING)
        wire.close()

    with instead(made, answer):
        found = client.ask(LONG)
        assert found.status == 200
        assert found.body.startswith(b":\n\n:\n\ndata: ")
        assert json.loads(found.body.rpartition(b"data: ")[2])["error"]["code"] == "tier_unavailable"
        line = line_of(made, found.headers["x-request-id"])
        assert "ttft" not in line
        assert not line["complete"]


def test_a_failure_before_the_first_byte_gives_503(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD)
        time.sleep(0.5)
        wire.close()

    with instead(made, answer):
        for path, body in ASKED.items():
            found = client.ask(body, path=path)
            assert (found.status, int(found.headers["retry-after"])) == (503, 5)
            assert found.data["error"]["code"] == "tier_unavailable"
            assert (found.data.get("type"), found.data["error"]["type"]) == (
                ("error", "overloaded_error") if path == "/v1/messages" else (None, "server_error")
            )


@pytest.mark.parametrize("path", ASKED)
def test_a_cut_stream_is_an_error_in_each_api(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str
) -> None:
    """The engine is stopped in the middle of a stream."""
    doomed = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": doomed})
    more = {"max_output_tokens": 4000} if path == "/v1/responses" else {"max_tokens": 4000}
    connection, answer = client.open({**ASKED[path], **more}, path=path)
    assert answer.read(2000)
    doomed.stop()
    rest = answer.read()
    connection.close()
    event = rest.rstrip().rpartition(b"\n\n")[2].decode()
    name, _data, text = event.rpartition("data: ")
    data = json.loads(text)
    assert "ends here" in data["error"]["message"]
    if path == "/v1/chat/completions":
        assert not name
    else:
        assert (name, data["type"]) == ("event: error\n", "error")
    settle(made, engines)


def test_openais_client_raises_for_a_cut_response(made: Gateway, engines: dict[str, Engine]) -> None:
    doomed = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": doomed})
    sdk = openai.OpenAI(base_url=made.url(), api_key="herd-key-of-ann", max_retries=0, timeout=60)
    events = 0
    with (
        pytest.raises(openai.APIError, match="ends here"),
        sdk.responses.create(model=REASONING_MODEL, input="hello", max_output_tokens=4000, stream=True) as stream,
    ):
        for _event in stream:
            events += 1
            if events == 20:
                doomed.stop()
    assert events >= 20
    settle(made, engines)


@pytest.mark.parametrize("path", ["/v1/messages", "/fast/v1/messages/count_tokens", "/task/fix/v1/messages"])
def test_errors_have_anthropics_shape_at_its_paths(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str
) -> None:
    made.unavailable("fast", "loading", "loading 43 %", 12)
    wait_for(lambda: client.ask(path="/fast/health").status == 503, "the gateway knows")
    unavailable = client.ask(ASK | {"model": ""}, path=path)
    assert (unavailable.status, unavailable.headers["retry-after"], unavailable.data["type"]) == (503, "12", "error")
    assert unavailable.data["error"]["type"] == "overloaded_error"
    assert "loading 43 %" in unavailable.data["error"]["message"]
    unknown = client.ask(ASK, path=path, key="herd-key-of-nobody")
    assert (unknown.status, unknown.data["type"]) == (401, "error")
    assert unknown.data["error"]["type"] == "authentication_error"
    settle(made, engines)
