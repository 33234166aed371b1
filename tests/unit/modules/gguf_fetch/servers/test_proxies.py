# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies of the environment: what they refuse or break is one error, which names the proxy and no password."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.certificates import Authority
from tests.unit.modules.gguf_fetch.servers.errors import SECRETS, check_error
from tests.unit.modules.gguf_fetch.servers.misbehaviour import SUM, TIMEOUT, WHOLE, Run
from tests.unit.modules.gguf_fetch.servers.sockets import Serve, listening, relay, reset

PASSWORD = SECRETS[1]
#: Seconds that a busy machine may take for a connection.
PATIENT = 15.0
AGAIN = "2 times in a row"
PAGE = b"<!DOCTYPE html><title>Sign in</title>" + bytes(2000)
START = b"HTTP/1.1 200 OK\r\n"
NO_TLS = "bytes that are no TLS (through the proxy http://"
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server with TLS that the client trusts."""
    folder = tmp_path / "tls"
    folder.mkdir()
    authority = Authority(folder, "trusted")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with ModelServer("127.0.0.1", authority.server()).running() as running:
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


def head_of(connection: socket.socket) -> bytes:
    """Read a request without a body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(4096)
        if not data:
            raise ConnectionError
        head += data
    return head


def answer(data: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    return serve


def plain(status: str, *headers: str) -> Serve:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(PAGE)}", "", ""]
    return answer("\r\n".join(lines).encode() + PAGE)


def tunnel(connection: socket.socket) -> None:
    """Open a connection to a server of loopback, as a proxy does."""
    match = re.match(rb"CONNECT localhost:(\d+) ", head_of(connection))
    assert match
    connection.sendall(OPEN)
    relay(connection, int(match[1]))


def stall(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def stall_in_tunnel(connection: socket.socket) -> None:
    head_of(connection)
    connection.sendall(OPEN)
    stall(connection)


def reset_after_request(connection: socket.socket) -> None:
    head_of(connection)
    reset(connection)


def flood(begin: bytes, line: bytes, pause: float = 0.0) -> Serve:
    many = line if pause else line * (1 + 50_000 // len(line))

    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(begin)
        while True:
            connection.sendall(many)
            time.sleep(pause)

    return serve


REFUSALS: dict[str, tuple[Serve, str]] = {
    "wants a login": (plain("407 Who are you", 'Proxy-Authenticate: Basic realm="x"'), "the proxy asks for a login"),
    "forbids the server": (plain("403 Forbidden"), "status 403: allow the server at the proxy"),
    "does not allow CONNECT": (plain("405 Method Not Allowed"), "status 405: allow the server at the proxy"),
    "cannot reach the server": (plain("502 Bad Gateway"), "the answer 502 to CONNECT (through the proxy http://"),
    "is overloaded": (plain("503 Busy", "Retry-After: 1"), "the answer 503 to CONNECT (through the proxy http://"),
    "redirects": (plain("302 Found", "Location: https://login.example.org/"), "status 302"),
    "answers 204": (answer(b"HTTP/1.1 204 No Content\r\n\r\n"), "status 204"),
    "shows a page": (plain("200 OK", "Content-Type: text/html"), NO_TLS),
    "shows a short page": (answer(START + b"\r\n<html>Sign in</html>"), NO_TLS),
    "shows one byte": (answer(START + b"\r\n\n"), NO_TLS),
    "shows a long page": (answer(START + b"\r\n" + PAGE * 99), NO_TLS),
    "stalls": (stall, AGAIN),
    "stalls in the tunnel": (stall_in_tunnel, AGAIN),
    "closes": (answer(b""), AGAIN),
    "closes in the tunnel": (answer(OPEN), AGAIN),
    "resets": (reset_after_request, AGAIN),
    "resets at once": (reset, AGAIN),
    "speaks SSH": (answer(b"SSH-2.0-OpenSSH_9.9\r\n"), AGAIN),
    "sends binary": (answer(b"\x15\x03\x01\0\x02\x02\x28" * 99), AGAIN),
    "sends short headers without an end": (flood(START, b"X: 1\r\n"), AGAIN),
    "sends long headers without an end": (flood(START, b"X: " + b"x" * 60_000 + b"\r\n"), AGAIN),
    "sends a header byte by byte": (flood(START + b"X: ", b"x", TIMEOUT / 8), AGAIN),
    "continues without an end": (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), ""),
    "hints without an end": (flood(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), AGAIN),
}
SLOW = {"stalls", "stalls in the tunnel", "sends a header byte by byte"}


def proxy(port: int) -> str:
    return f"http://ann:{PASSWORD}@127.0.0.1:{port}"


@pytest.mark.parametrize("name", REFUSALS)
def test_proxy_that_opens_no_connection_is_one_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    serve, words = REFUSALS[name]
    timeout = TIMEOUT if name in SLOW else PATIENT
    with listening(serve) as port:
        monkeypatch.setenv("https_proxy", proxy(port))
        began = time.monotonic()
        failed = run(url="https://localhost:1/m.gguf", sha256=SUM, retries=1, timeout=timeout)
        assert time.monotonic() - began < 60
    check_error(failed, words)
    assert PASSWORD not in json.dumps(failed) and "ann" not in failed["msg"]
    assert "proxy" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_dead_proxy_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy(9))
    failed = run(url=f"{scheme}://localhost:1/m.gguf", sha256=SUM, retries=1)
    check_error(failed, "Connection refused (through the proxy http://127.0.0.1:9), 2 times in a row")
    assert PASSWORD not in json.dumps(failed)


def test_silent_proxy_of_plain_http_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(stall) as port:
        monkeypatch.setenv("http_proxy", proxy(port))
        failed = run(url="http://models.invalid/m.gguf", sha256=SUM, retries=1)
    check_error(failed, f"no byte in time (through the proxy http://127.0.0.1:{port}), 2 times in a row")
    assert PASSWORD not in json.dumps(failed)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"http://ann:{PASSWORD}@127.0.0.1:99999", "a valid URL of the proxy"),
        (f"http://ann:{PASSWORD}@127.0.0.1:http", "a valid URL of the proxy"),
        (f"http://ann:{PASSWORD}@[::1:3128", "a valid URL of the proxy"),
        (f"http://ann:{PASSWORD}", "a valid URL of the proxy"),
        (f"http://ann:x/{PASSWORD}@127.0.0.1:9", "a valid URL of the proxy"),
        (f"http://ann:x#{PASSWORD}@127.0.0.1:9", "a valid URL of the proxy"),
        (f"http://ann:{PASSWORD}@", "a valid URL of the proxy"),
        (f"gopher://ann:{PASSWORD}@127.0.0.1:9", "a valid URL of the proxy"),
        (f"socks5://ann:{PASSWORD}@127.0.0.1:9", "one for socks5"),
        (f"https://ann:{PASSWORD}@127.0.0.1:9", "Connection refused (through the proxy https://127.0.0.1:9)"),
        (f"ann:{PASSWORD}@127.0.0.1:9", "a valid URL of the proxy"),
        ("127.0.0.1:9", "Connection refused (through the proxy http://"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("is_option", [True, False], ids=["option", "environment"])
def test_wrong_url_of_a_proxy_is_named_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch, value: str, words: str, scheme: str, is_option: bool
) -> None:
    options = {"proxy": value} if is_option else {}
    if not is_option:
        monkeypatch.setenv(f"{scheme}_proxy", value)
    failed = run(url=f"{scheme}://localhost:1/m.gguf", sha256=SUM, retries=0, **options)
    check_error(failed, words)
    assert PASSWORD not in json.dumps(failed) and "ann" not in failed["msg"]


def test_proxy_of_https_that_speaks_plain_http_is_one_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with listening(serve) as port:
        monkeypatch.setenv("https_proxy", f"https://ann:{PASSWORD}@127.0.0.1:{port}")
        failed = run(url="https://localhost:1/m.gguf", sha256=SUM, retries=1, timeout=PATIENT)
    check_error(failed, f"the proxy https://127.0.0.1:{port}")
    assert PASSWORD not in json.dumps(failed)


def test_proxy_gets_its_credentials_and_the_server_does_not(
    secured: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []

    def serve(connection: socket.socket) -> None:
        heads.append(connection.recv(4096, socket.MSG_PEEK))
        tunnel(connection)

    with listening(serve) as port:
        monkeypatch.setenv("https_proxy", proxy(port))
        url = f"https://localhost:{secured.port}/m.gguf"
        result = run(url=url, sha256=SUM, timeout=PATIENT)
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    basic = base64.b64encode(f"ann:{PASSWORD}".encode())
    assert heads and all(b"Proxy-Authorization: Basic " + basic in head for head in heads)
    assert {asked.authorization for asked in secured.requests} == {None}
    assert PASSWORD not in json.dumps(result)
    assert not any(PASSWORD in path.read_text(errors="replace") for path in tmp_path.iterdir() if path.is_file())


def test_failure_of_a_proxy_passes(
    secured: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = iter([plain("502 Bad Gateway"), answer(OPEN), reset_after_request])

    def serve(connection: socket.socket) -> None:
        next(broken, tunnel)(connection)

    with listening(serve) as port:
        monkeypatch.setenv("https_proxy", proxy(port))
        url = f"https://localhost:{secured.port}/m.gguf"
        result = run(url=url, sha256=SUM, timeout=PATIENT)
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("hosts", "is_direct"),
    [
        ("localhost", True),
        ("localhost:PORT", True),
        ("localhost:1", False),
        (".localhost", True),
        ("host", False),
        ("ocalhost:PORT", False),
        ("example.org, localhost", True),
        ("example.org,.local", False),
        ("*", True),
        ("", False),
        ("127.0.0.1", False),
    ],
)
def test_no_proxy_lists_names_ports_and_suffixes(
    server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch, hosts: str, is_direct: bool
) -> None:
    check_no_proxy(server, run, monkeypatch, ("localhost", hosts), is_direct)


@pytest.mark.parametrize(
    ("hosts", "is_direct"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:PORT", True),
        ("127.0.0.1:1", False),
        ("example.org, 127.0.0.1:PORT", True),
        ("127.0.0.0/8:PORT", True),
        ("127.0.0.0/8:1", False),
        ("localhost", False),
    ],
)
def test_no_proxy_lists_addresses_with_ports(
    server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch, hosts: str, is_direct: bool
) -> None:
    check_no_proxy(server, run, monkeypatch, ("127.0.0.1", hosts), is_direct)


def check_no_proxy(
    server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str], is_direct: bool
) -> None:
    """Fetch from a host without or through a dead proxy; the case is the host, and the value of no_proxy."""
    host, hosts = case
    monkeypatch.setenv("http_proxy", proxy(9))
    monkeypatch.setenv("no_proxy", hosts.replace("PORT", str(server.port)))
    result = run(url=server.url("/m.gguf", host=host), sha256=SUM, retries=0, timeout=PATIENT)
    assert ("msg" not in result) == is_direct, result
    if not is_direct:
        check_error(result, "(through the proxy http://127.0.0.1:9)")


def test_no_proxy_applies_to_each_redirect(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask the proxy only for the storage that the publisher redirects to."""
    server.files["/hub/m.gguf"] = Served(location="http://storage.invalid/m.gguf")
    server.files["http://storage.invalid/m.gguf"] = Served(WHOLE)
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    assert run(url=server.url("/hub/m.gguf"), sha256=SUM, timeout=PATIENT)["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.asked("GET", "http://storage.invalid/m.gguf")
