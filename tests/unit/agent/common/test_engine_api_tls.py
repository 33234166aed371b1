# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl's requests to a head with TLS trust the head's certificate only, even an expired one."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl

# The agent's use of the command line of its head.
QUESTION = """
import json, sys
sys.path.insert(0, sys.argv[1])
from herd.agent.common import engine_api as engine
from herd.core.errors import HerdError
api = engine.of(sys.argv[2:])
try:
    answer = "".join(engine.chat(api, "Hello", 4, 5))
except HerdError as error:
    answer = str(error)
print(json.dumps([engine.health(api), answer]))
"""
CONFIGURATION = """
[ca]
default_ca = all
[all]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = optional
"""


class Head(BaseHTTPRequestHandler):
    """A double of the head's API with the requested paths only."""

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer /health."""
        self._reply(b"{}")

    def do_POST(self) -> None:
        """Send a completion in one piece."""
        self._reply(b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n')

    def _reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def expired(folder: Path) -> None:
    """Make a key and a certificate that expired in 2021."""
    words = "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=head -keyout key -out request"
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    for name, text in (("ca.cnf", CONFIGURATION), ("index", ""), ("serial", "01\n")):
        (folder / name).write_text(text, encoding="utf-8")
    words = (
        "ca -batch -selfsign -notext -config ca.cnf -keyfile key -in request -out certificate "
        "-startdate 20200101000000Z -enddate 20210101000000Z"
    )
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Start a head with the folder's key and certificate; yield its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def ask(herdctl: Path, port: int, certificate: Path) -> list[str]:
    """Send requests as the installed agent does; return health and response."""
    words = ["--host", "127.0.0.1", "--port", str(port), "--alias", "m", "--ssl-cert-file", str(certificate)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", QUESTION, str(herdctl.parents[1] / "lib"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(json.loads(done.stdout))


def test_only_the_heads_own_certificate_is_trusted(herdctl: Path, tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        openssl.self_signed(folder, "herd.inference", "head", "DNS:head.example.org", 1)
    with serving(own) as port:
        assert ask(herdctl, port, own / "certificate") == ["ok", "Hi"]
        health, answer = ask(herdctl, port, other / "certificate")
    assert health == "silent"
    assert "CERTIFICATE_VERIFY_FAILED" in answer


def test_head_with_an_expired_certificate_is_healthy(herdctl: Path, tmp_path: Path) -> None:
    expired(tmp_path)
    with serving(tmp_path) as port:
        assert ask(herdctl, port, tmp_path / "certificate") == ["ok", "Hi"]


def test_head_with_a_missing_certificate_is_healthy(herdctl: Path, tmp_path: Path) -> None:
    openssl.self_signed(tmp_path, "herd.inference", "head", "DNS:head.example.org", 1)
    (tmp_path / "nonsense").write_text("nonsense", encoding="utf-8")
    with serving(tmp_path) as port:
        for name in ("gone", "nonsense"):
            health, answer = ask(herdctl, port, tmp_path / name)
            assert health == ""
            assert "certificate" in answer
