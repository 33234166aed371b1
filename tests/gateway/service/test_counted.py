# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests in the log, the metrics and the status page: each counts once, with its engine and tokens."""

from __future__ import annotations

import re
import socket
import time
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import status
from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.wire import HEAD, TOKEN, chunk, instead, line_of

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 12}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": ASK,
    "/v1/completions": {"prompt": "hello", "max_tokens": 12},
    "/v1/messages": ASK,
    "/v1/responses": {"input": "hello", "max_output_tokens": 12},
}


def counts(client: Client, name: str) -> dict[str, float]:
    """Return the lines of a metric. A page that somebody read before is kept for up to a second."""
    time.sleep(status.KEPT_S)
    found = client.ask(path="/metrics").body.decode()
    pairs = (line.rpartition(" ") for line in found.splitlines() if line.startswith(name))
    return {labels: float(value) for labels, _blank, value in pairs}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ASKED)
def test_the_log_has_the_tokens_of_each_response(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str, stream: bool
) -> None:
    tokens = 'herd_gateway_tokens_total{kind="completion",tier="reasoning"}'
    before = counts(client, tokens)[tokens]
    found = client.ask({**ASKED[path], "model": REASONING_MODEL, "stream": stream}, path=path)
    assert found.status == 200
    line = line_of(made, found.headers["x-request-id"])
    assert line["completion_tokens"] == 12
    assert line["prompt_tokens"] == (2 if path == "/v1/completions" else 8)
    assert line["complete"]
    assert line["engine"] == f"127.0.0.1:{engines['reasoning'].port}"
    assert ("ttft" in line) is stream
    assert counts(client, tokens)[tokens] == before + 12


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_status_page_has_a_routers_load_and_speed(
    client: Client, made: Gateway, engines: dict[str, Engine], stream: bool
) -> None:
    """The router itself is not asked, since it would load models."""

    def load() -> dict[str, Any]:
        return dict(client.ask(path="/status.json").data["tiers"][0]["load"])

    assert client.ask(chat(40, model=FAST_MODEL, stream=stream)).status == 200
    assert load()["tokens_per_s"] > 1
    connection, answer = client.open(chat(3000, model=FAST_MODEL, stream=True))
    assert answer.read(200)
    # A page is kept for up to a second.
    wait_for(lambda: load()["running"] == 1, "the request on the page", 5)
    expected = {'herd_gateway_in_flight{tier="fast"}': 1, 'herd_gateway_in_flight{tier="reasoning"}': 0}
    assert counts(client, "herd_gateway_in_flight") == expected
    answer.close()
    connection.close()
    wait_for(lambda: load()["running"] == 0, "the end of the answer", 5)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_an_engines_refusal_counts_once_and_as_complete(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str
) -> None:
    """Its key is not the gateway's, so the user gets a 503."""
    stranger = made.engine(REASONING_MODEL, key="another-key")
    settle(made, {"reasoning": stranger})
    asked = 'herd_gateway_requests_total{status="503",tier="reasoning"}'
    cut = 'herd_gateway_cut_total{tier="reasoning"}'
    before = [counts(client, name) for name in (asked, cut, "herd_gateway_refused_total")]
    body = {"input": "hello"} if path == "/v1/embeddings" else ASK
    connection, answer = client.open({**body, "model": REASONING_MODEL}, path=path)
    answer.read()
    connection.close()
    assert (answer.status, answer.headers.get_all("X-Herd-Tier")) == (503, ["reasoning"])
    assert answer.headers["Retry-After"] == "5"
    lines = made.access()
    wait_for(lambda: len(made.access()) > len(lines) or made.access()[-1]["status"] == 503, "the line of the log")
    time.sleep(0.2)
    line = made.access()[-1]
    assert (line["status"], line["complete"], line["engine"]) == (503, True, f"127.0.0.1:{stranger.port}")
    now = [counts(client, name) for name in (asked, cut, "herd_gateway_refused_total")]
    assert now[0][asked] == before[0].get(asked, 0) + 1
    assert now[1:] == before[1:]
    stranger.stop()
    settle(made, engines)


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
def test_a_stream_of_the_former_instance_is_logged(
    client: Client, made: Gateway, engines: dict[str, Engine], is_cut: bool
) -> None:
    engine = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": engine})
    connection, answer = client.open(chat(60, model=REASONING_MODEL, stream=True))
    assert answer.read(200)
    made.restart_gateway()
    if is_cut:
        engine.stop()
    rest = answer.read()
    connection.close()
    line = line_of(made, answer.headers["X-Request-Id"])
    assert line["engine"] == f"127.0.0.1:{engine.port}"
    assert line["ttft"] > 0
    assert line["complete"] is not is_cut
    if is_cut:
        assert re.search(rb"ends here", rest)
    else:
        assert (line["prompt_tokens"], line["completion_tokens"]) == (8, 60)
    engine.stop()
    settle(made, engines)


@pytest.mark.parametrize(
    ("path", "last", "is_complete"),
    [
        ("/v1/responses", b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n', True),
        ("/v1/messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        ("/v1/chat/completions", b"data: [DONE]\n\n", True),
        ("/v1/chat/completions", TOKEN, False),
    ],
    ids=["responses", "messages", "chat", "before-the-end"],
)
def test_a_client_that_leaves_after_the_last_event_has_a_complete_response(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str, last: bytes, is_complete: bool
) -> None:
    """As Codex 0.171 does: it does not wait for the end of the connection."""

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD + chunk(TOKEN) + chunk(last))
        time.sleep(2)

    cut = 'herd_gateway_cut_total{tier="reasoning"}'
    before = counts(client, cut).get(cut, 0)
    with instead(made, answer):
        connection, found = client.open({**ASKED[path], "model": REASONING_MODEL, "stream": True}, path=path)
        data = b""
        while len(data) < len(TOKEN + last):
            data += found.read1(65536)
        found.close()
        connection.close()
        line = line_of(made, found.headers["X-Request-Id"])
    assert (line["status"], line["complete"]) == (200, is_complete)
    assert counts(client, cut).get(cut, 0) == before + (not is_complete)
