# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's client against a double of llama-server that gives answers captured from the real one."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports import openssl
from ansible_collections.herd.inference.plugins.module_utils.ports.openai import Api
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


class Head(BaseHTTPRequestHandler):
    loading: ClassVar[int] = 0
    cut: ClassVar[bool] = False
    key: ClassVar[str] = "secret"

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
            self.reply(503 if Head.loading >= 0 else 200, b"{}")
        else:
            self.reply(200, json.dumps({"data": [{"id": "lab-llama"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Head.key and self.headers.get("Authorization") != f"Bearer {Head.key}":
            self.reply(401, b"{}")
        elif body.get("stream"):
            lines = "".join(f"data: {json.dumps(piece)}\n\n" for piece in PIECES) + "data: [DONE]\n\n"
            self.reply(200, lines.encode(), len(lines) + 100 if Head.cut else None)
        else:
            self.reply(200, json.dumps(WHOLE).encode())


@pytest.fixture
def url() -> Iterator[str]:
    Head.loading, Head.cut, Head.key = 0, False, "secret"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


GIVEN = {"model": "lab-llama", "api_key_file": "/k", "prompt": "hi", "max_tokens": 8}


def test_a_head_that_answers_is_proved(url: str) -> None:
    proof = api_health.prove(Api(url, "secret", 5), GIVEN)
    assert proof["key_required"] is True
    assert (proof["completion"]["tokens"], proof["completion"]["tokens_per_second"]) == (8, 630.8)
    assert (proof["streamed"]["text"], proof["streamed"]["tokens"]) == (" ISOFoot", 2)
    assert proof["streamed"]["first_token_s"] is not None


def test_it_is_followed_while_it_loads(url: str) -> None:
    Head.loading = 2
    assert api_health.wait_until_ready(Api(url, "", 5), 10, "") == ["loading", "ready"]


def test_nothing_there_ends_with_the_states_that_were_met() -> None:
    with pytest.raises(RemoteFailureError, match="found refused"):
        api_health.wait_until_ready(Api("http://127.0.0.1:9", "", 1), 0, "")


def test_another_model_is_named(url: str) -> None:
    with pytest.raises(MismatchError, match="expected the model other, found lab-llama"):
        api_health.prove(Api(url, "secret", 5), {**GIVEN, "model": "other"})


def test_a_wrong_key_is_an_error_without_the_key(url: str) -> None:
    with pytest.raises(MismatchError) as caught:
        Api(url, "guess", 5).chat("lab-llama", "hi", 8)
    assert "guess" not in str(caught.value)


def test_an_open_head_is_an_error_when_a_key_was_meant(url: str) -> None:
    Head.key = ""
    with pytest.raises(MismatchError, match="without a key to be refused"):
        api_health.prove(Api(url, "secret", 5), GIVEN)


def test_a_cut_stream_is_an_error(url: str) -> None:
    Head.cut = True
    with pytest.raises(RemoteFailureError, match="a whole answer"):
        Api(url, "secret", 5).chat_streamed("lab-llama", "hi", 8)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The same behind TLS, with a name that is not its address; its URL and its certificate."""
    certificate, _key = openssl.self_signed(tmp_path, "herd.inference", "head", "DNS:head.example.org", 1)
    Head.loading, Head.cut, Head.key = 0, False, "secret"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    server.server_close()


def test_a_head_with_tls_is_proved_by_its_own_certificate(secure: tuple[str, str]) -> None:
    url, certificate = secure
    api = Api(url, "secret", 5, certificate)
    assert api_health.wait_until_ready(api, 10, "") == ["ready"]
    assert api_health.prove(api, GIVEN)["streamed"]["text"] == " ISOFoot"


def test_no_other_certificate_will_do(secure: tuple[str, str], tmp_path: Path) -> None:
    url, _certificate = secure
    other = tmp_path / "other"
    other.mkdir()
    stranger, _key = openssl.self_signed(other, "herd.inference", "head", "DNS:head.example.org", 1)
    with pytest.raises(RemoteFailureError, match="certificate verify failed"):
        api_health.wait_until_ready(Api(url, "secret", 5, stranger), 10, "")
    # Nor one that the system's authorities would have to vouch for.
    with pytest.raises(RemoteFailureError, match="certificate verify failed"):
        api_health.wait_until_ready(Api(url, "secret", 5), 10, "")
