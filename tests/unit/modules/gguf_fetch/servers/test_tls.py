# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers whose certificate or TLS is wrong: one error that names the cause, or right bytes after a retry."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.certificates import Authority
from tests.unit.modules.gguf_fetch.servers.errors import check_error
from tests.unit.modules.gguf_fetch.servers.misbehaviour import SUM, TIMEOUT, WHOLE, Run
from tests.unit.modules.gguf_fetch.servers.sockets import Serve, listening, relay, reset

#: The first bytes of a ServerHello that never ends.
HELLO = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"
#: Seconds that a busy machine may take for a handshake.
PATIENT = 15.0
Issue = Callable[[Authority, Authority], ssl.SSLContext]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority that the client trusts."""
    folder = tmp_path / "tls"
    folder.mkdir()
    made = Authority(folder, "trusted")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.file))
    return made


def client_wanted(authority: Authority, _other: Authority) -> ssl.SSLContext:
    """Want a client certificate, which the node has not."""
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    return context


def client_wanted_by_tls12(authority: Authority, other: Authority) -> ssl.SSLContext:
    context = client_wanted(authority, other)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


CERTIFICATES: dict[str, tuple[Issue, str, str]] = {
    "has expired": (lambda known, other: known.server(-5, 2), "has expired", "renew the server's certificate"),
    "is not yet valid": (lambda known, other: known.server(2, 2), "not yet valid", "set the node's clock"),
    "is for another name": (
        lambda known, other: known.server(host="other.example.org"),
        "not valid for 'localhost'",
        "use a name for which",
    ),
    "is for an address": (lambda known, other: known.server(host="127.0.0.1"), "not valid for", "use a name for which"),
    "is of an unknown authority": (
        lambda known, other: other.server(),
        "unable to get local issuer certificate",
        "install the authority's certificate",
    ),
    "wants a client certificate": (client_wanted, "CERTIFICATE_REQUIRED", "client certificate"),
    "wants a client certificate, TLS 1.2": (client_wanted_by_tls12, "HANDSHAKE_FAILURE", "client certificate"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_wrong_certificate_is_named_with_its_remedy(authority: Authority, run: Run, tmp_path: Path, name: str) -> None:
    issue, found, remedy = CERTIFICATES[name]
    context = issue(authority, Authority(tmp_path / "tls", "unknown"))
    with ModelServer("127.0.0.1", context).running() as server:
        server.files["/m.gguf"] = Served(WHOLE)
        failed = run(url=f"https://localhost:{server.port}/m.gguf", sha256=SUM, timeout=PATIENT)
        check_error(failed, found)
        assert remedy in failed["msg"]
        assert not (tmp_path / "m.gguf").exists() and not server.requests


def answer(data: bytes) -> Serve:
    """Read the client's first bytes, then send these."""

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)
        # A close with unread bytes would be a reset.
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)

    return serve


def stall(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def trickle(connection: socket.socket) -> None:
    connection.sendall(HELLO)
    while True:
        connection.sendall(b"\0")
        time.sleep(TIMEOUT / 8)


def flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(HELLO * 9000)


def reset_in_handshake(connection: socket.socket) -> None:
    connection.recv(64)
    connection.sendall(HELLO)
    reset(connection)


AGAIN = "2 times in a row"
HANDSHAKES: dict[str, tuple[Serve, str]] = {
    "speaks plain HTTP": (answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "bytes that are no TLS"),
    "speaks plain HTTP with a page": (answer(b"<html>400 plain HTTP</html>" * 400), "bytes that are no TLS"),
    "speaks SSH": (answer(b"SSH-2.0-OpenSSH_9.9\r\n"), "bytes that are no TLS"),
    "sends zeros": (answer(bytes(5000)), "bytes that are no TLS"),
    "refuses the handshake": (answer(b"\x15\x03\x03\x00\x02\x02\x28"), "the TLS error "),
    "refuses the version of TLS": (answer(b"\x15\x03\x03\x00\x02\x02\x46"), "the TLS error "),
    "does not know the name": (answer(b"\x15\x03\x03\x00\x02\x02\x70"), "the TLS error "),
    "closes in the handshake": (answer(b""), AGAIN),
    "closes in its first message": (answer(HELLO), AGAIN),
    "resets in the handshake": (reset_in_handshake, AGAIN),
    "resets at once": (reset, AGAIN),
    "stalls in the handshake": (stall, AGAIN),
    "sends its handshake byte by byte": (trickle, AGAIN),
    "sends a handshake without an end": (flood, "TLS"),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_broken_handshake_is_one_error(run: Run, tmp_path: Path, name: str) -> None:
    serve, words = HANDSHAKES[name]
    with listening(serve) as port:
        began = time.monotonic()
        timeout = TIMEOUT if serve in (stall, trickle) else PATIENT
        failed = run(url=f"https://localhost:{port}/m.gguf", sha256=SUM, retries=1, timeout=timeout)
        assert time.monotonic() - began < 60
    check_error(failed, words)
    assert not (tmp_path / "m.gguf").exists()


def times(count: int, spoil: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Spoil only the first pieces that are content: handshakes are shorter."""
    left = iter(range(count))

    def limited(data: bytes) -> bytes:
        return spoil(data) if len(data) > 8000 and next(left, None) is not None else data

    return limited


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: data[:5000] + b"?" + data[5001:], lambda data: data[:-1] + data],
    ids=["cut", "changed", "repeated"],
)
def test_broken_bytes_of_tls_are_fetched_again(
    authority: Authority, run: Run, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """TLS detects each changed byte. The connection is lost and no byte of it is used."""
    some = times(3, spoil)
    with ModelServer("127.0.0.1", authority.server()).running() as server:
        server.files["/m.gguf"] = Served(WHOLE)
        with listening(lambda connection: relay(connection, server.port, some)) as port:
            result = run(url=f"https://localhost:{port}/m.gguf", sha256=SUM, timeout=PATIENT)
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "found no such file"), (b"", "certificates"), (b"no certificate\n", "found a file without certificates")],
    ids=["missing", "empty", "text"],
)
def test_unusable_file_of_authorities_is_named(
    authority: Authority, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, found: str
) -> None:
    bundle = tmp_path / "tls" / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with ModelServer("127.0.0.1", authority.server()).running() as server:
        failed = run(url=f"https://localhost:{server.port}/m.gguf", sha256=SUM, timeout=PATIENT)
    check_error(failed, found)
    assert "REQUESTS_CA_BUNDLE" in failed["msg"]
