# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths that clients use, with and without C(/v1), and the answer to a path that is nearly right."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.gateway.conftest import Client
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway
from tests.gateway.wire import double, json_answer

PATHS = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/responses/input_tokens",
    "/rerank",
    "/reranking",
    "/messages",
    "/messages/count_tokens",
]
#: What the engine itself has at one place only.
SINGLE = ["/tokenize", "/detokenize", "/infill", "/apply-template", "/completion"]
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\0\xff\xfe--b\r\n\r\n--b--\r\n"
) % REASONING_MODEL.encode()


@pytest.fixture
def heard(made: Gateway, engines: dict[str, Engine]) -> Iterator[list[bytes]]:
    """Collect the requests that reach the reasoning tier."""
    found: list[bytes] = []

    def answer(wire: socket.socket) -> None:
        wire.sendall(json_answer({"object": "answer"}))

    with double(answer, found.append) as port:
        made.ready("reasoning", port, [REASONING_MODEL])
        yield found


@pytest.mark.parametrize("prefix", ["", "/reasoning", "/task/borrowing"])
@pytest.mark.parametrize("path", [*PATHS, *(f"/v1{path}" for path in PATHS), *SINGLE])
def test_each_path_reaches_the_engine(client: Client, heard: list[bytes], path: str, prefix: str) -> None:
    answer = client.ask({"model": REASONING_MODEL, "input": "hello"}, path=prefix + path)
    assert (answer.status, answer.data) == (200, {"object": "answer"}), answer.body
    line = heard[0].partition(b"\r\n")[0].decode()
    # With or without /v1, whichever the engine has.
    assert line.removeprefix("POST ").removesuffix(" HTTP/1.1").removeprefix("/v1") == path.removeprefix("/v1")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations", "/audio/transcriptions"])
def test_a_recording_reaches_the_engine_as_it_is(client: Client, heard: list[bytes], path: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for tier in ("reasoning", "fast"):
        answer = client.ask(FORM, method="POST", path=path, headers=headers, tier=tier)
        assert answer.status == 200, answer.body
        assert heard[-1].endswith(FORM)
        assert b"multipart/form-data; boundary=b" in heard[-1]


def test_a_query_stays_away_from_the_engine(client: Client, heard: list[bytes]) -> None:
    """Azure's and Anthropic's clients send one (C(?api-version=), C(?beta=true))."""
    answer = client.ask({"model": REASONING_MODEL}, path="/v1/messages?beta=true&path=/slots")
    assert answer.status == 200
    assert b"slots" not in heard[0].partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/reasoning/v1/v1/messages", "/v1/messages"),
        ("/v1/v1/models", "/v1/models"),
        ("/V1/Chat/Completions", "/v1/chat/completions"),
    ],
)
def test_a_path_that_is_nearly_right_gets_the_right_one(
    client: Client, heard: list[bytes], path: str, right: str
) -> None:
    answer = client.ask({"model": REASONING_MODEL}, path=path)
    assert (answer.status, answer.data["error"]["code"]) == (404, "not_found"), answer.body
    assert right in answer.data["error"]["message"]
    assert not heard
