# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snippets of docs/reference/gateway-clients.md: an nginx in front with the page's text, and files that parse."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import tomllib
import yaml

from tests.engine.flag_runs import free_port, listens
from tests.gateway.conftest import chat
from tests.gateway.harness import MAIN, REASONING_MODEL, ROOT, Engine, Gateway, nginx_program, wait_for
from tests.gateway.wire import DONE, HEAD, TOKEN, chunk, instead

PAGE = (ROOT / "docs" / "reference" / "gateway-clients.md").read_text(encoding="utf-8")
ADDRESS = "10.0.0.5:8080"
PAUSE_S = 0.4


def snippets(kind: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def front(made: Gateway, engines: dict[str, Engine], tmp_path: Path) -> Iterator[int]:
    """Another nginx with the page's snippet in front of the gateway: its port."""
    port = free_port()
    (snippet,) = snippets("nginx")
    inside = snippet.replace(ADDRESS, f"127.0.0.1:{made.ports['reasoning']}")
    user = "user root;" if os.geteuid() == 0 else ""
    text = MAIN.format(root=tmp_path, user=user)
    text = re.sub(r"include .*;", lambda _line: f"server {{ listen 127.0.0.1:{port}; {inside} }}", text)
    (tmp_path / "nginx.conf").write_text(text, encoding="utf-8")
    process = subprocess.Popen([nginx_program(), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    try:
        wait_for(lambda: listens(port), "the nginx in front")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def slow_stream(wire: socket.socket) -> None:
    """Answer as an engine that pauses after the first token."""
    wire.sendall(HEAD + chunk(TOKEN))
    time.sleep(PAUSE_S)
    wire.sendall(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")


def test_first_token_passes_an_nginx_in_front_at_once(made: Gateway, front: int) -> None:
    with instead(made, slow_stream):
        connection = HTTPConnection("127.0.0.1", front, timeout=20)
        body = json.dumps(chat(model=REASONING_MODEL, stream=True))
        headers = {"Authorization": "Bearer herd-key-of-ann", "Content-Type": "application/json"}
        connection.request("POST", "/llm/v1/chat/completions", body, headers)
        began = time.monotonic()
        answer = connection.getresponse()
        first = next(line for line in iter(answer.readline, b"") if line.startswith(b"data:"))
        waited = time.monotonic() - began
        rest = answer.read()
        connection.close()
    assert first.strip() == TOKEN.strip()
    assert waited < PAUSE_S / 2
    assert time.monotonic() - began >= PAUSE_S
    assert rest.endswith(DONE)


def test_errors_and_the_status_page_pass_an_nginx_in_front(front: int) -> None:
    for path, status, part in (
        ("/llm/v1/models", 401, b'"invalid_api_key"'),
        ("/llm/status", 200, f"http://127.0.0.1:{front}/v1".encode()),
    ):
        connection = HTTPConnection("127.0.0.1", front, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, part in answer.read()) == (status, True)
        assert answer.headers["X-Request-Id"]
        connection.close()


def test_configuration_files_of_the_page_parse() -> None:
    (codex,) = snippets("toml")
    assert tomllib.loads(codex)["model_providers"]["herd"]["base_url"] == f"http://{ADDRESS}/v1"
    texts = snippets("yaml")
    assert len(texts) == 3
    for text in texts:
        assert f"http://{ADDRESS}/v1" in json.dumps(yaml.safe_load(text))
