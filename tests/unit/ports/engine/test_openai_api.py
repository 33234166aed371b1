# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's client against a double of llama-server that gives answers captured from the real one."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports.engine.openai_api import Api
from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl
from ansible_collections.herd.inference.plugins.modules import api_health

TIMINGS = {"predicted_n": 8, "predicted_per_second": 630.8011174191223}
WHOLE = {
    "choices": [
        {"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": " whitespace Torre"}}
    ],
    "usage": {"completion_tokens": 8, "prompt_tokens": 9, "total_tokens": 17},
    "timings": TIMINGS,
}
PIECES: list[dict[str, Any]] = [
    {"choices": [{"finish_reason": None, "index": 0, "delta": {"role": "assistant", "content": None}}]},
    {"choices": [{"finish_reason": None, "index": 0, "delta": {"content": " ISO"}}]},
    {"choices": [{"finish_reason": None, "index": 0, "delta": {"content": "Foot"}}]},
    {"choices": [{"finish_reason": "length", "index": 0, "delta": {}}]},
    {"choices": [], "usage": {"completion_tokens": 2}, "timings": TIMINGS},
]
# A model that reasons, as the engine's chat parser separates it.
THOUGHTS: list[dict[str, Any]] = [
    {"choices": [{"finish_reason": None, "index": 0, "delta": {"reasoning_content": "Let me"}}]},
    {"choices": [{"finish_reason": None, "index": 0, "delta": {"reasoning_content": " see"}}]},
    *PIECES[1:],
]
SLOTS = [
    {"id": 0, "n_ctx": 2048, "speculative": False, "is_processing": False},
    {"id": 1, "n_ctx": 2048, "speculative": False, "is_processing": True},
]


class Head(BaseHTTPRequestHandler):
    loading: ClassVar[int] = 0
    cut: ClassVar[bool] = False
    key: ClassVar[str] = "secret"
    health: ClassVar[int] = 200
    any_key: ClassVar[bool] = False
    pieces: ClassVar[list[dict[str, Any]]] = PIECES
    slots: ClassVar[list[dict[str, Any]] | None] = SLOTS
    whole: ClassVar[Any] = WHOLE

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def reply(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/health":
            Head.loading -= 1
            self.reply(503 if Head.loading >= 0 else Head.health, b"{}")
        elif self.path == "/slots":
            self.reply(200 if Head.slots is not None else 501, json.dumps(Head.slots or {"error": {}}).encode())
        else:
            self.reply(200, json.dumps({"data": [{"id": "lab-llama"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown = self.headers.get("Authorization", "")
        if Head.key and shown != f"Bearer {Head.key}" and not (Head.any_key and shown):
            self.reply(401, b"{}")
        elif body.get("stream"):
            lines = "".join(f"data: {json.dumps(piece)}\n\n" for piece in Head.pieces) + "data: [DONE]\n\n"
            self.reply(200, lines.encode(), len(lines) + 100 if Head.cut else None)
        else:
            self.reply(200, json.dumps(Head.whole).encode())


@pytest.fixture
def url() -> Iterator[str]:
    Head.loading, Head.cut, Head.key = 0, False, "secret"
    Head.health, Head.any_key, Head.pieces, Head.slots, Head.whole = 200, False, PIECES, SLOTS, WHOLE
    server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class OneAnswer(Head):
    """A head that closes each connection after one response without saying so, as an engine does with an idle one."""

    protocol_version = "HTTP/1.1"

    def parse_request(self) -> bool:
        self.close_connection = True
        self.answered = getattr(self, "answered", 0) + 1
        return self.answered == 1 and super().parse_request()

    def handle(self) -> None:
        self.handle_one_request()
        self.handle_one_request()


def test_each_request_has_its_own_connection() -> None:
    Head.loading, Head.health, Head.key = 0, 200, "secret"
    server = ThreadingHTTPServer(("127.0.0.1", 0), OneAnswer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        api = Api(f"http://127.0.0.1:{server.server_address[1]}", "secret", 10)
        assert api.health() == "ready"
        assert api.models() == ["lab-llama"]
        assert api.chat("lab-llama", "hi", 8).tokens == 8
    finally:
        server.shutdown()
        server.server_close()


GIVEN: dict[str, Any] = {
    "model": "lab-llama",
    "api_key_file": "/k",
    "prompt": "hi",
    "max_tokens": 8,
    "slots": 2,
    "speculation": False,
    "reasoning": None,
    "url": "http://127.0.0.1:9",
    "unit": "",
    "timeout": 10,
    "model_bytes": 0,
    "load_mib_per_s": 100.0,
}


def test_answering_head_is_verified(url: str) -> None:
    proof = api_health.prove(Api(url, "secret", 5), GIVEN)
    assert proof["key_required"] is True
    assert (proof["completion"]["tokens"], proof["completion"]["tokens_per_second"]) == (8, 630.8)
    assert (proof["streamed"]["text"], proof["streamed"]["tokens"]) == (" ISOFoot", 2)
    assert proof["streamed"]["first_token_s"] is not None
    assert (proof["streamed"]["finish_reason"], proof["streamed"]["reasoning"], proof["reasons"]) == (
        "length",
        "",
        False,
    )
    assert proof["slots"] == {"total": 2, "busy": 1, "context": 2048, "speculative": False}
    assert (proof["wrong_key_refused"], proof["models"]) == (True, ["lab-llama"])


def test_reasoning_is_separated_from_the_response(url: str) -> None:
    Head.pieces = THOUGHTS
    proof = api_health.prove(Api(url, "secret", 5), {**GIVEN, "reasoning": True})
    assert (proof["streamed"]["text"], proof["streamed"]["reasoning"]) == ("Let me see ISOFoot", "Let me see")
    with pytest.raises(MismatchError, match="without reasoning_content, found 10 of 18 characters"):
        api_health.prove(Api(url, "secret", 5), {**GIVEN, "reasoning": False})


def test_unexpected_slots_are_an_error(url: str) -> None:
    with pytest.raises(MismatchError, match="expected 1 request slots, found 2"):
        api_health.prove(Api(url, "secret", 5), {**GIVEN, "slots": 1})
    Head.slots = None
    assert api_health.prove(Api(url, "secret", 5), {**GIVEN, "slots": 1})["slots"]["total"] is None


def test_head_that_accepts_any_key_is_an_error(url: str) -> None:
    Head.any_key = True
    with pytest.raises(MismatchError, match="with another key to be refused"):
        api_health.prove(Api(url, "secret", 5), GIVEN)


def test_other_program_on_port_ends_wait(url: str) -> None:
    Head.health = 404
    with pytest.raises(MismatchError, match="status 404: see what listens at that port"):
        api_health.wait_until_ready(Api(url, "", 5), GIVEN)


def test_process_outside_unit_is_reported(url: str) -> None:
    port = int(url.rpartition(":")[2])
    found = api_health.strangers(port, "llama-head.service")
    # This very process, which is no unit.
    assert len(found) == 1
    assert found[0].endswith(f"({os.getpid()})")
    assert api_health.strangers(9, "llama-head.service") == ()


def test_states_are_recorded_while_head_loads(url: str) -> None:
    Head.loading = 2
    assert api_health.wait_until_ready(Api(url, "", 5), GIVEN).states == ["loading", "ready"]


def test_timeout_reports_states() -> None:
    with pytest.raises(RemoteFailureError, match="found refused"):
        api_health.wait_until_ready(Api("http://127.0.0.1:9", "", 1), {**GIVEN, "timeout": 0})


def test_other_model_is_an_error(url: str) -> None:
    with pytest.raises(MismatchError, match="expected the model other, found lab-llama"):
        api_health.prove(Api(url, "secret", 5), {**GIVEN, "model": "other"})


def test_wrong_key_error_does_not_show_key(url: str) -> None:
    with pytest.raises(MismatchError) as caught:
        Api(url, "guess", 5).chat("lab-llama", "hi", 8)
    assert "guess" not in str(caught.value)


def test_head_without_key_check_is_an_error(url: str) -> None:
    Head.key = ""
    with pytest.raises(MismatchError, match="without a key to be refused"):
        api_health.prove(Api(url, "secret", 5), GIVEN)


def answers(usage: Any, reasoning: Any, content: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Return an answer in one piece and as a stream."""
    message = {"role": "assistant", "reasoning_content": reasoning, "content": content}
    end = {"finish_reason": "length", "index": 0}
    whole = {"choices": [{**end, "message": message}], "usage": usage}
    return whole, [{"choices": [{**end, "delta": message}]}, {"choices": [], "usage": usage}]


@pytest.mark.parametrize("usage", [{"completion_tokens": 8}, {"completion_tokens": 8, "prompt_tokens": "many"}])
@pytest.mark.parametrize(("reasoning", "content"), [("Let me", ""), ("Let me", None), (None, ""), (None, None)])
def test_tokens_that_show_no_text_are_an_answer(url: str, usage: Any, reasoning: Any, content: Any) -> None:
    Head.whole, Head.pieces = answers(usage, reasoning, content)
    proof = api_health.prove(Api(url, "secret", 5), GIVEN)
    for way in ("completion", "streamed"):
        assert (proof[way]["tokens"], proof[way]["has_token"], proof[way]["text"]) == (8, True, reasoning or "")


@pytest.mark.parametrize("usage", [None, "8", [], {}, {"completion_tokens": "8"}, {"completion_tokens": 0}])
def test_text_of_a_server_that_counts_nothing_is_an_answer(url: str, usage: Any) -> None:
    Head.whole, Head.pieces = answers(usage, None, "Hi")
    proof = api_health.prove(Api(url, "secret", 5), GIVEN)
    assert [(proof[way]["tokens"], proof[way]["has_token"]) for way in ("completion", "streamed")] == [(0, True)] * 2


@pytest.mark.parametrize("silent", ["in one piece", "as a stream"])
@pytest.mark.parametrize("usage", [None, "8", {"completion_tokens": 0}])
def test_neither_tokens_nor_text_is_no_answer(url: str, usage: Any, silent: str) -> None:
    whole, pieces = answers(usage, None, "")
    Head.whole, Head.pieces = (whole, PIECES) if silent == "in one piece" else (WHOLE, pieces)
    with pytest.raises(RemoteFailureError, match=f"expected at least one token {silent}, found none"):
        api_health.prove(Api(url, "secret", 5), GIVEN)


@pytest.mark.parametrize(
    "odd", [5, [], "error", None, {"choices": None}, {"choices": [5]}, {"choices": [{"message": 5}]}]
)
def test_answer_of_another_shape_is_no_answer(url: str, odd: Any) -> None:
    Head.whole = odd
    with pytest.raises(RemoteFailureError, match="expected at least one token in one piece"):
        api_health.prove(Api(url, "secret", 5), GIVEN)


@pytest.mark.parametrize("odd", [5, [], "error", None])
def test_event_that_is_no_object_is_an_error(url: str, odd: Any) -> None:
    Head.pieces = [odd]
    with pytest.raises(RemoteFailureError, match="a whole answer"):
        Api(url, "secret", 5).chat_streamed("lab-llama", "hi", 8)


def test_interrupted_stream_is_an_error(url: str) -> None:
    Head.cut = True
    with pytest.raises(RemoteFailureError, match="a whole answer"):
        Api(url, "secret", 5).chat_streamed("lab-llama", "hi", 8)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The same behind TLS, with a name that is not its address; its URL and its certificate."""
    certificate, _key = openssl.self_signed(tmp_path, "herd.inference", "head", "DNS:head.example.org", 1)
    Head.loading, Head.cut, Head.key = 0, False, "secret"
    Head.health, Head.any_key, Head.pieces, Head.slots = 200, False, PIECES, SLOTS
    server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    server.server_close()


def test_head_certificate_is_trusted(secure: tuple[str, str]) -> None:
    url, certificate = secure
    api = Api(url, "secret", 5, certificate)
    assert api_health.wait_until_ready(api, GIVEN).states == ["ready"]
    assert api_health.prove(api, GIVEN)["streamed"]["text"] == " ISOFoot"


def test_other_certificate_is_rejected(secure: tuple[str, str], tmp_path: Path) -> None:
    url, _certificate = secure
    other = tmp_path / "other"
    other.mkdir()
    stranger, _key = openssl.self_signed(other, "herd.inference", "head", "DNS:head.example.org", 1)
    with pytest.raises(MismatchError, match="certificate verify failed"):
        api_health.wait_until_ready(Api(url, "secret", 5, stranger), GIVEN)
    # Nor one that the system's authorities would have to vouch for.
    with pytest.raises(MismatchError, match="certificate verify failed"):
        api_health.wait_until_ready(Api(url, "secret", 5), GIVEN)
