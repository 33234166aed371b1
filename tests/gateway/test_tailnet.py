# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes from the tailnet: tailscaled takes the path of a mount off, and says so nowhere."""

from __future__ import annotations

import ast
import json
import posixpath
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urljoin, urlsplit

import jinja2
import openai
import pytest
import yaml

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, ROLE, Engine, Gateway, wait_for

NAME = "slurm-ctl.tailc46cd0.ts.net"


def mounts(ports: Mapping[str, int], tls: bool = False) -> dict[str, str]:
    """What the role has tailscaled serve."""
    given = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))["_gateway_tailnet_mounts"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["bool"] = bool
    tiers = [{"name": name, "gateway_port": port} for name, port in ports.items()]
    text = environment.from_string(given).render(gateway_tiers=tiers, gateway_tls=tls)
    found: dict[str, str] = ast.literal_eval(text.strip())
    return found


def mount_of(mounted: Mapping[str, str], path: str) -> str:
    """Which mount a path belongs to, as tailscaled finds it: the longest, with a slash at its end or without."""
    if path in mounted:
        return path
    clean = posixpath.normpath(path)
    while True:
        for place in (clean.rstrip("/") + "/", clean):
            if place in mounted:
                return place
        if clean == "/":
            return ""
        clean = posixpath.dirname(clean)


class Tailscaled(BaseHTTPRequestHandler):
    """A double of what tailscaled does with a request, but for TLS: no tailnet is to be had here.

    It strips the mount's path, keeps the client's Host, and adds the headers that tailscaled adds.
    """

    protocol_version = "HTTP/1.1"
    mounted: Mapping[str, str]

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        path, sign, query = self.path.partition("?")
        mount = mount_of(self.mounted, path)
        rest = path if path == "/" else path.removeprefix(mount.rstrip("/"))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        own = {"X-Forwarded-For": "100.101.102.1", "X-Forwarded-Host": NAME, "X-Forwarded-Proto": "https"}
        own["Tailscale-User-Login"] = "ann@example.org"
        there = HTTPConnection(urlsplit(self.mounted[mount]).netloc, timeout=60)
        there.request(self.command, (rest or "/") + sign + query, body, {**given, **own})
        answer = there.getresponse()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            while piece := answer.read1(65536):
                self.wfile.write(piece)
        there.close()
        self.close_connection = True

    def do_GET(self) -> None:
        """Pass it on."""
        self._pass_on()

    def do_POST(self) -> None:
        """Pass it on."""
        self._pass_on()


@pytest.fixture(scope="module")
def tailnet(made: Gateway) -> Iterator[str]:
    """Where the tailnet reaches the gateway."""
    handler = type("Here", (Tailscaled,), {"mounted": mounts(made.ports)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirects."""

    def redirect_request(self, *_given: Any) -> None:
        return None


def ask(url: str, body: Any = None) -> tuple[int, Message, bytes]:
    """Send a request through the tailnet."""
    headers = {"Host": NAME, "Authorization": "Bearer herd-key-of-ann", "Content-Type": "application/json"}
    asked = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(Stay).open(asked, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_role_mounts_each_tier_at_its_name() -> None:
    ports = {"fast": 8080, "reasoning": 8081}
    assert mounts(ports) == {"/": "http://127.0.0.1:8080", "/reasoning/": "http://127.0.0.1:8081"}
    # A certificate has no name of the loopback interface.
    assert mounts(ports, tls=True)["/reasoning/"] == "https+insecure://127.0.0.1:8081"


@pytest.mark.parametrize(
    ("path", "tier"),
    [
        ("/v1", "fast"),
        ("/reasoning/v1", "reasoning"),
        ("/fast/v1", "fast"),
        # Of this the first part is taken off, and the gateway takes off the second.
        ("/reasoning/fast/v1", "fast"),
        ("/task/borrowing/v1", "reasoning"),
        ("/reasoning/task/fix/v1", "fast"),
    ],
)
def test_both_tiers_answer_under_their_mounts(tailnet: str, engines: dict[str, Engine], path: str, tier: str) -> None:
    for stream in (False, True):
        status, headers, body = ask(f"{tailnet}{path}/chat/completions", chat(stream=stream))
        assert (status, headers["X-Herd-Tier"]) == (200, tier), body
        assert body.rstrip().endswith(b"data: [DONE]") == stream
    assert ask(f"{tailnet}{path}/models")[0] == 200


def test_a_mount_works_as_openais_base_url(tailnet: str, engines: dict[str, Engine]) -> None:
    sdk = openai.OpenAI(base_url=f"{tailnet}/reasoning/v1", api_key="herd-key-of-ann", max_retries=0, timeout=60)
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    with sdk.chat.completions.create(model=REASONING_MODEL, messages=messages, max_tokens=9, stream=True) as stream:
        assert len([chunk for chunk in stream if chunk.choices]) >= 9
    assert REASONING_MODEL in [model.id for model in sdk.models.list()]


@pytest.mark.parametrize("path", ["/", "/reasoning/", "/reasoning"])
def test_the_first_page_redirects_to_the_status_page(tailnet: str, engines: dict[str, Engine], path: str) -> None:
    status, headers, _body = ask(f"{tailnet}{path}")
    assert status == 302
    # It is relative, since only the browser knows the removed path.
    target = urljoin(f"{tailnet}{path}", headers["Location"])
    assert urlsplit(target).path == ("/reasoning/status" if path == "/reasoning/" else "/status")
    status, headers, body = ask(target)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    # What is copied from it is what the tailnet calls it, and how.
    assert f"https://{NAME}/v1".encode() in body
    # What its script asks for is below the same mount.
    assert json.loads(ask(urljoin(target, "status.json"))[2])["schema"] == 1


def test_a_mount_opens_no_other_paths(tailnet: str, engines: dict[str, Engine]) -> None:
    for path in ("/reasoning/slots", "/reasoning/../slots", "/reasoning//slots", "/reasoning/v1/../../slots"):
        status, _headers, body = ask(f"{tailnet}{path}")
        assert status in (400, 404), (path, body)
        assert b"is_processing" not in body


def test_health_works_under_a_mount(client: Client, tailnet: str, made: Gateway, engines: dict[str, Engine]) -> None:
    made.unavailable("reasoning", "preempted", "preempted by VASP job 88", 77)
    wait_for(lambda: client.ask(tier="reasoning", path="/health").status == 503, "the gateway knows")
    assert ask(f"{tailnet}/health")[0] == 200
    assert ask(f"{tailnet}/reasoning/health")[0] == 503
    status, headers, body = ask(f"{tailnet}/reasoning/v1/chat/completions", chat())
    assert (status, headers["Retry-After"]) == (503, "77")
    assert re.search(r"preempted by VASP job 88", json.loads(body)["error"]["message"])
