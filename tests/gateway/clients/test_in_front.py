# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snippets of docs/reference/gateway-clients.md: an nginx in front, and the settings of clients."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tomllib
import yaml

from tests.engine.flag_runs import free_port, listens
from tests.gateway.conftest import Client, chat
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


def environment(name: str) -> dict[str, str]:
    """Return the variables that the page's block with this one exports."""
    (block,) = (text for text in snippets("bash") if f"export {name}=" in text)
    given = {"PATH": os.environ["PATH"], "HERD_API_KEY": "herd-key-of-ann"}
    done = subprocess.run(["bash", "-c", f"{block}\nenv -0"], env=given, capture_output=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if "=" in line)


def openai_addresses() -> dict[str, str]:
    """Return the addresses that the page gives to programs of OpenAI's API."""
    (codex,) = map(tomllib.loads, snippets("toml"))
    continue_, librechat, litellm = map(yaml.safe_load, snippets("yaml"))
    (cline,) = (shlex.split(text) for text in snippets("bash") if text.startswith("cline "))
    return {
        "Codex": codex["model_providers"]["herd"]["base_url"],
        "Continue": continue_["models"][0]["apiBase"],
        "Cline": cline[cline.index("--baseurl") + 1],
        "Open WebUI": environment("OPENAI_API_BASE_URLS")["OPENAI_API_BASE_URLS"],
        "LibreChat": librechat["endpoints"]["custom"][0]["baseURL"],
        "LiteLLM": litellm["model_list"][0]["litellm_params"]["api_base"],
    }


def test_addresses_of_the_page_are_the_gateways(client: Client, engines: dict[str, Engine]) -> None:
    for name, address in openai_addresses().items():
        host, path = urlsplit(address)[1:3]
        for task in ("models", "chat/completions", "responses"):
            body = None if task == "models" else {"model": "unknown", "messages": []}
            answer = client.ask(body, path=f"{path}/{task}")
            # The path is right if only the model is unknown.
            found = answer.status == 200 if body is None else answer.error["code"] == "model_not_found"
            assert (host, found) == (ADDRESS, True), (name, task)


def test_the_environment_of_claude_code_reaches_the_engine(client: Client, engines: dict[str, Engine]) -> None:
    given = environment("ANTHROPIC_BASE_URL")
    host, path = urlsplit(given["ANTHROPIC_BASE_URL"])[1:3]
    body = {"model": REASONING_MODEL, "messages": [{"role": "user", "content": "hello"}]}
    answer = client.ask(body, path=f"{path}/v1/messages/count_tokens", key=given["ANTHROPIC_AUTH_TOKEN"])
    assert (host, answer.status, answer.data["input_tokens"] > 0) == (ADDRESS, 200, True)


def test_the_environment_of_open_webui_has_its_key_and_is_valid() -> None:
    given = environment("OPENAI_API_KEYS")
    assert given["OPENAI_API_KEYS"] == "herd-key-of-ann"
    assert json.loads(given["DEFAULT_MODEL_METADATA"]) == {"capabilities": {"builtin_tools": False}}


def test_settings_of_the_page_name_one_model_and_context() -> None:
    (codex,) = map(tomllib.loads, snippets("toml"))
    continue_, librechat, _litellm = map(yaml.safe_load, snippets("yaml"))
    claude, (endpoint,), (model,) = (
        environment("ANTHROPIC_MODEL"),
        librechat["endpoints"]["custom"],
        continue_["models"],
    )
    assert endpoint["models"]["default"] == list(endpoint["tokenConfig"]) == [model["model"]]
    assert codex["model"] == claude["ANTHROPIC_MODEL"] == model["model"]
    contexts = {
        codex["model_context_window"],
        int(claude["CLAUDE_CODE_MAX_CONTEXT_TOKENS"]),
        model["defaultCompletionOptions"]["contextLength"],
        endpoint["tokenConfig"][model["model"]]["context"],
    }
    assert contexts == {32768}
