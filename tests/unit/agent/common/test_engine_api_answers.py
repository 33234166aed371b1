# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the agent and of vLLM's wrapper decide by the tokens of an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import engine_api
from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import probe
from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_answers

MUTE = (b"{}", b"", b"null", b'{"content": "", "tokens_predicted": 0}', b'{"choices": [{"text": ""}]}', b"<html>")
SPEAKING = (
    b'{"content": "", "tokens_predicted": 1}',
    b'{"content": "x"}',
    b'{"choices": [{"text": ""}], "usage": {"completion_tokens": 1}}',
    b'{"choices": [{"text": "x"}]}',
)


class Engine(BaseHTTPRequestHandler):
    """A double of an engine that sends one body to each completion."""

    body: ClassVar[bytes] = b""

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Send the body."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(Engine.body)))
        self.end_headers()
        self.wfile.write(Engine.body)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("body", "is_answer"), [*((body, False) for body in MUTE), *((body, True) for body in SPEAKING)]
)
def test_probe_needs_a_token(port: int, body: bytes, is_answer: bool) -> None:
    Engine.body = body
    api = engine_api.Api("127.0.0.1", port, "", "m")
    found = engine_api.probe(lambda: engine_api.token(api, 30))
    assert (found.asked, found.answered) == (True, is_answer)
    assert is_answer or "status 200 without a token" in found.detail
    problem = probe.complete(probe.VllmApi("127.0.0.1", port, "k", "m"), 30)
    assert (problem == "") is is_answer
    assert is_answer or problem.startswith("a completion has no token")


def test_query_that_shows_no_text_has_the_tokens(port: int) -> None:
    Engine.body = b'data: {"choices": [], "usage": {"completion_tokens": 8}}\n\ndata: [DONE]\n\n'
    answer = api_answers.Answer()
    api = engine_api.Api("127.0.0.1", port, "", "m")
    assert list(engine_api.chat(api, "Hi", 8, 30, answer)) == []
    assert (answer.tokens, answer.has_token) == (8, True)
