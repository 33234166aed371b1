# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, proxies, signed addresses and bandwidth limits."""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import SUM, WHOLE, Run, answer


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[ModelServer]:
    """A server whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "tls.pem"
    private = serialization.PrivateFormat.PKCS8
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ModelServer("127.0.0.1", context).running() as running:
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


def test_untrusted_certificate_is_refused(
    secured: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"url": f"https://localhost:{secured.port}/m.gguf", "sha256": SUM}
    failed = run(**asked)
    assert "expected a trusted certificate" in failed["msg"] and "certificate verify failed" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists() and not secured.requests
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
    assert run(**asked)["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_server_without_tls_is_refused(server: ModelServer, run: Run, tmp_path: Path) -> None:
    failed = run(url=f"https://127.0.0.1:{server.port}/m.gguf", sha256=SUM)
    assert "found bytes that are no TLS" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


def test_closed_port_is_one_error(run: Run, tmp_path: Path) -> None:
    failed = run(url="http://127.0.0.1:9/m.gguf", sha256=SUM)
    assert "Connection refused, 4 times in a row" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


def test_expired_signed_address_is_requested_again(server: ModelServer, run: Run, tmp_path: Path) -> None:
    signed = iter(range(100))
    hub = server.files["/hub/m.gguf"] = Served(headers={"X-Linked-Etag": f'"{SUM}"', "X-Linked-Size": str(len(WHOLE))})
    served = [0]

    def sign(handler: Any) -> bool:
        number = next(signed)
        server.files[f"/cdn/m.gguf?sig={number}"] = Served(WHOLE, etag='"cdn"', act=expires)
        hub.location = f"/cdn/m.gguf?sig={number}"
        return False

    def expires(handler: Any) -> bool:
        served[0] += 1
        return served[0] % 4 == 0 and answer(handler, 403, {"Content-Length": 0})

    hub.act = sign
    assert run(url=server.url("/hub/m.gguf"), connections=1)["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert 1 < len(server.asked("GET", "/hub/m.gguf")) < len(server.asked("GET")) / 2, "not for every range"


def test_proxy_is_used(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["http://models.invalid/m.gguf"] = Served(WHOLE)
    assert run(url="http://models.invalid/m.gguf", sha256=SUM, proxy=server.url(""))["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_bandwidth_limit_is_kept(server: ModelServer, run: Run, tmp_path: Path) -> None:
    began = time.monotonic()
    assert run(url=server.url("/m.gguf"), sha256=SUM, bandwidth=str(len(WHOLE)))["changed"]
    # A busy machine makes it longer and never shorter.
    assert time.monotonic() - began > 0.6
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
