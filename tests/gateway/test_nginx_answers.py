# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's nginx site passes to the gateway, and what it answers itself; the gateway is a double."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.flag_runs import free_port, listens
from tests.gateway.harness import MAIN, nginx_program, render, wait_for

SITE = "https://chat.example.org"
HOST = "Host: gateway.example.org:8080"
KEY = "Authorization: Bearer key"
#: Headers of the double's responses that nginx must not follow, and one that it must follow and pass on.
SENT = (
    "X-Request-Id: forged\r\nX-Accel-Redirect: /.herd-too-large\r\nX-Accel-Expires: 60\r\nX-Accel-Limit-Rate: 1\r\n"
    "X-Accel-Charset: utf-7\r\nX-Accel-Buffering: no\r\nCache-Control: no-cache\r\n"
)


@dataclass
class Reply:
    """A response: its status, its headers with lower-case names, and its body."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Double:
    """A gateway that answers each request with the bytes of its head."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(64)
        self.requests = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _address = self.socket.accept()
                # nginx may leave before it has the whole response.
                with connection, suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
            data += piece
        self.requests += 1
        length = re.search(rb"(?i)content-length: (\d+)", data)
        size = data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
        while len(data) < size and (piece := connection.recv(65536)):
            data += piece
        head = data.partition(b"\r\n\r\n")[0]
        connection.sendall(f"HTTP/1.1 200 OK\r\n{SENT}Content-Length: {len(head)}\r\n\r\n".encode() + head)


@dataclass
class Nginx:
    """nginx with the role's site for two tiers."""

    root: Path
    ports: dict[str, int]

    def ask(self, line: str, *headers: str, body: bytes = b"", tier: str = "fast") -> Reply:
        """Send a request, byte for byte, and read its response."""
        head = "\r\n".join([line, *headers, "Connection: close", "", ""]).encode("latin-1")
        with socket.create_connection(("127.0.0.1", self.ports[tier]), timeout=20) as connection:
            connection.sendall(head + body)
            # After a refusal, nginx waits for the rest of the body before it closes the connection.
            with connection.makefile("rb") as stream:
                first = stream.readline().decode("latin-1")
                pairs = (
                    field.decode("latin-1").rstrip("\r\n").partition(": ") for field in iter(stream.readline, b"\r\n")
                )
                found = {name.lower(): value for name, _sign, value in pairs}
                text = stream.read(int(found.get("content-length", 0))).decode("latin-1")
        return Reply(int(first.split(" ")[1]), found, text)

    def lines(self) -> list[dict[str, Any]]:
        """Return its log of what it answered itself."""
        path = self.root / "own.log"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def line(self, reply: Reply) -> dict[str, Any]:
        """Wait for the line of a response."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [line for line in self.lines() if line["id"] == reply.headers["x-request-id"]]
            return bool(found)

        wait_for(look, "the line in nginx's log", 5)
        return found[0]


def started(root: Path) -> tuple[Nginx, subprocess.Popen[bytes]]:
    ports = {"fast": free_port(), "reasoning": free_port()}
    given = {
        "gateway_nginx_root": str(root / "etc"),
        "gateway_addresses": ["127.0.0.1"],
        "gateway_cors_origins": [SITE],
        "gateway_max_body_mib": 1,
        "gateway_keyless_rate": 20,
        "gateway_socket": f"{root}/gateway.sock",
        "gateway_nginx_log": f"{root}/own.log",
        "_gateway_tiers": [{"name": name, "port": port} for name, port in ports.items()],
    }
    (root / "etc" / "conf.d").mkdir(parents=True)
    (root / "etc" / "conf.d" / "herd.conf").write_text(render(given)["conf.d/herd.conf"], encoding="utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    (root / "etc" / "nginx.conf").write_text(MAIN.format(root=root, user=user), encoding="utf-8")
    process = subprocess.Popen([nginx_program(), "-p", str(root), "-c", str(root / "etc" / "nginx.conf")])
    wait_for(lambda: all(map(listens, ports.values())), "nginx")
    return Nginx(root, ports), process


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    root = Path(tempfile.mkdtemp(prefix="herd-nginx-", dir="/tmp"))
    process = None
    try:
        made, process = started(root)
        yield made
    finally:
        if process:
            process.terminate()
            process.wait(20)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def double(nginx: Nginx) -> Iterator[Double]:
    made = Double(nginx.root / "gateway.sock")
    yield made
    made.socket.close()


def test_missing_gateway_is_reported(nginx: Nginx) -> None:
    """This test runs first: there is no double yet."""
    reply = nginx.ask("GET /v1/models HTTP/1.1", HOST, f"Origin: {SITE}")
    assert (reply.status, reply.data["error"]["code"]) == (503, "gateway_unavailable")
    assert reply.data["error"]["type"] == "server_error"
    assert reply.headers["retry-after"] == "5"
    # A page in a browser may read the refusal.
    assert reply.headers["access-control-allow-origin"] == SITE
    assert nginx.line(reply)["refused"] == "gateway_unavailable"


@pytest.mark.parametrize(
    "path",
    ["/v1/models/a%2fb?x=%31", "//v1//chat", "/task/f%C3%A9/v1/../x", "/a/.%2e/%ff", "/" + "a" * 8000],
    ids=["encoded", "slashes", "dots", "bytes", "long"],
)
def test_path_reaches_the_gateway_as_it_is(nginx: Nginx, double: Double, path: str) -> None:
    assert nginx.ask(f"GET {path} HTTP/1.1", HOST).body.split("\r\n")[0] == f"GET {path} HTTP/1.1"


def test_gateway_gets_only_nginxs_own_headers_about_the_request(nginx: Nginx, double: Double) -> None:
    mine = ["X-Herd-Entry: evil", "X-Request-Id: mine", "X-Real-IP: 1.2.3.4", "Connection: X-Real-IP", "Upgrade: h2c"]
    reply = nginx.ask("GET /v1/models HTTP/1.1", HOST, *mine, "X-Herd-Task: fix", tier="reasoning")
    head = reply.body.split("\r\n")
    assert f"X-Request-Id: {reply.headers['x-request-id']}" in head
    assert {HOST, "Connection: close", "X-Herd-Entry: reasoning", "X-Real-IP: 127.0.0.1", "X-Herd-Task: fix"} <= {*head}
    names = [line.partition(":")[0].lower() for line in head[1:]]
    assert len(names) == len(set(names))
    assert "upgrade" not in names
    assert "X-Forwarded-Proto: http" in head
    proxied = nginx.ask("GET / HTTP/1.1", HOST, "X-Forwarded-Proto: https")
    assert "X-Forwarded-Proto: https" in proxied.body
    assert "X-Forwarded-Proto: http\r\n" in nginx.ask("GET / HTTP/1.1", HOST, "X-Forwarded-Proto: evil").body


def test_nginx_follows_no_instruction_but_the_one_about_buffers(nginx: Nginx, double: Double) -> None:
    reply = nginx.ask("GET /v1/models HTTP/1.1", HOST)
    assert reply.status == 200
    assert reply.headers["x-request-id"] != "forged"
    # A proxy in front reads it, too.
    assert (reply.headers["x-accel-buffering"], reply.headers["cache-control"]) == ("no", "no-cache")
    assert not {"x-accel-redirect", "x-accel-expires", "x-accel-limit-rate", "x-accel-charset"} & {*reply.headers}


REFUSALS = [
    ("GET /v1/models HTTP/3.0", [HOST], 505, "http_version_not_supported"),
    ("TRACE /v1/models HTTP/1.1", [HOST], 405, "method_not_allowed"),
    ("\x16\x03\x01\x00\xa5", [], 400, "bad_request"),
    ("GET /v1/../../x HTTP/1.1", [HOST], 400, "bad_request"),
    ("POST /v1/chat/completions HTTP/1.1", [HOST, KEY, "Transfer-Encoding: gzip"], 501, "not_implemented"),
    ("POST /v1/chat/completions HTTP/1.1", [HOST, "Content-Length: 1048577"], 413, "request_too_large"),
    ("POST /v1/chat/completions HTTP/1.1", [HOST, "Content-Length: -5"], 400, "bad_request"),
    (f"GET /{'a' * 20000} HTTP/1.1", [HOST], 431, "headers_too_large"),
    ("GET /v1/models HTTP/1.1", [HOST, f"X-Long: {'a' * 20000}"], 431, "headers_too_large"),
    ("GET /.herd-too-large HTTP/1.1", [HOST], 404, "not_found"),
]


@pytest.mark.parametrize(("line", "headers", "status", "code"), REFUSALS, ids=[f"{r[2]}-{r[3]}" for r in REFUSALS])
def test_nginx_refuses_in_the_apis_shape(
    nginx: Nginx, double: Double, line: str, headers: list[str], status: int, code: str
) -> None:
    before = double.requests
    reply = nginx.ask(line, *headers)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert {*reply.data["error"]} == {"message", "type", "param", "code"}
    assert (reply.data["error"]["type"], reply.data["error"]["code"]) == ("invalid_request_error", code)
    assert double.requests == before
    found = nginx.line(reply)
    assert (found["status"], found["refused"], found["client"]) == (status, code, "127.0.0.1")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/messages", []),
        ("/task/fix/v1/messages?x=1", []),
        ("/fast/messages/count_tokens", []),
        ("/v1/models", ["anthropic-version: 2023-06-01"]),
    ],
)
def test_refusals_have_anthropics_shape_for_its_clients(nginx: Nginx, path: str, headers: list[str]) -> None:
    reply = nginx.ask(f"POST {path} HTTP/1.1", HOST, *headers, "Content-Length: 1048577")
    assert reply.status == 413
    message = "The body is larger than 1 MiB."
    assert reply.data == {"type": "error", "error": {"type": "request_too_large", "message": message}}


@pytest.mark.parametrize("header", ["Content-Length: 1048576", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/chat/completions", "invalid_request_error"), ("/v1/messages", "authentication_error")]
)
def test_body_without_a_key_is_refused_before_it_is_read(
    nginx: Nginx, double: Double, path: str, kind: str, header: str
) -> None:
    before = double.requests
    # The body never comes.
    reply = nginx.ask(f"POST {path} HTTP/1.1", HOST, "Authorization: ", header)
    assert (reply.status, reply.headers["www-authenticate"], double.requests) == (401, "Bearer", before)
    assert reply.data["error"]["type"] == kind
    assert reply.data["error"]["message"].startswith("You did not provide an API key.")
    assert "www-authenticate" not in nginx.ask("GET /health HTTP/1.1", HOST).headers
    for key in (KEY, "x-api-key: key", "api-key: key"):
        reply = nginx.ask(f"POST {path} HTTP/1.1", HOST, key, "Content-Length: 4", body=b"body")
        assert (reply.status, double.requests) == (200, before + 2)
        before += 1


def test_requests_without_a_key_are_limited_for_each_address(nginx: Nginx, double: Double) -> None:
    found = [nginx.ask("GET /status HTTP/1.1", HOST) for _count in range(80)]
    refused = [reply for reply in found if reply.status != 200]
    assert {*(reply.status for reply in refused)} == {429}
    assert len(refused) < 60
    assert refused[0].data["error"]["code"] == "rate_limit_exceeded"
    assert refused[0].headers["retry-after"] == "5"
    assert nginx.ask("GET /v1/models HTTP/1.1", HOST, KEY).status == 200
    # The other tests need requests again. The burst is twice the rate per second.
    time.sleep(2.5)


def test_largest_body_reaches_the_gateway(nginx: Nginx, double: Double) -> None:
    reply = nginx.ask("POST /v1/embeddings HTTP/1.1", HOST, KEY, f"Content-Length: {1 << 20}", body=b"x" * (1 << 20))
    assert f"Content-Length: {1 << 20}" in reply.body.split("\r\n")
    chunks = b"8\r\n12345678\r\n0\r\n\r\n"
    reply = nginx.ask("POST /v1/embeddings HTTP/1.1", HOST, KEY, "Transfer-Encoding: chunked", body=chunks)
    # Its length is known when it has arrived, so the gateway gets no chunks.
    assert "Content-Length: 8" in reply.body.split("\r\n")
    assert "Transfer-Encoding" not in reply.body


def test_preflight_requests_are_answered(nginx: Nginx, double: Double) -> None:
    before = double.requests
    asked = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, x-herd-task"]
    reply = nginx.ask("OPTIONS /v1/chat/completions HTTP/1.1", HOST, f"Origin: {SITE}", *asked)
    assert (reply.status, double.requests) == (204, before)
    assert reply.headers["access-control-allow-origin"] == SITE
    assert reply.headers["access-control-allow-headers"] == "authorization, x-herd-task"
    assert "POST" in reply.headers["access-control-allow-methods"]
    reply = nginx.ask("OPTIONS /v1/chat/completions HTTP/1.1", HOST, "Origin: https://evil.example.org", *asked)
    # The gateway refuses it.
    assert double.requests == before + 1
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_log_has_no_text_of_a_task_and_only_what_nginx_answers(nginx: Nginx, double: Double) -> None:
    reply = nginx.ask("TRACE /task/my-secret%20plan/v1/chat/completions?q=my-secret HTTP/1.1", HOST)
    assert nginx.line(reply)["path"] == "/task/v1/chat/completions"
    passed = nginx.ask("GET /v1/models HTTP/1.1", HOST)
    nginx.line(nginx.ask("TRACE / HTTP/1.1", HOST))
    assert not [line for line in nginx.lines() if line["id"] == passed.headers["x-request-id"]]
    assert "my-secret" not in (nginx.root / "own.log").read_text(encoding="utf-8")
