# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that speaks TLS itself: the handshake, the page, the API and the role's own proof that it answers."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import openai
import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate
from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl
from tests.gateway.conftest import Reply, chat
from tests.gateway.harness import REASONING_MODEL, ROOT, Gateway, gateway

NAME = "llm.example.org"


@pytest.fixture(scope="module")
def secure() -> Iterator[Gateway]:
    """A gateway with a certificate as the role generates one, and one engine."""
    root = Path(tempfile.mkdtemp(prefix="herd-tls-", dir="/tmp"))
    try:
        (root / "pair").mkdir()
        names = certificate.subject_names([NAME, "127.0.0.1"])
        pair = openssl.self_signed(root / "pair", "herd.inference", NAME, names, 825)
        (root / "tls.crt").write_text(pair[0], encoding="utf-8")
        (root / "tls.key").write_text(pair[1], encoding="utf-8")
        tls = {"gateway_tls": True, "gateway_tls_certificate_file": f"{root}/tls.crt"}
        with gateway(root, **tls, gateway_tls_key_file=f"{root}/tls.key") as made:
            engine = made.engine(REASONING_MODEL)
            made.ready("reasoning", engine.port, [REASONING_MODEL])
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


def trust(made: Gateway) -> ssl.SSLContext:
    """A client that believes this certificate and no other."""
    return ssl.create_default_context(cafile=str(made.root / "tls.crt"))


def ask(made: Gateway, path: str, body: Any = None, tier: str = "reasoning") -> Reply:
    connection = HTTPSConnection("127.0.0.1", made.ports[tier], timeout=60, context=trust(made))
    given = {"Authorization": "Bearer herd-key-of-ann", "Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", path, body and json.dumps(body), given)
    answer = connection.getresponse()
    try:
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def shaken(made: Gateway, context: ssl.SSLContext, name: str = NAME) -> tuple[str | None, tuple[str, str, int] | None]:
    """Shake hands, and say in which version and cipher."""
    with (
        socket.create_connection(("127.0.0.1", made.ports["reasoning"]), timeout=10) as wire,
        context.wrap_socket(wire, server_hostname=name) as safe,
    ):
        return safe.version(), safe.cipher()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_tls_versions_are_accepted(secure: Gateway, version: ssl.TLSVersion) -> None:
    for name in (NAME, "127.0.0.1"):
        context = trust(secure)
        context.minimum_version = context.maximum_version = version
        found, cipher = shaken(secure, context, name)
        assert found == version.name.replace("_", ".")
        assert cipher is not None
        # Forward secrecy: recorded traffic stays unreadable if the key is stolen later.
        assert version == ssl.TLSVersion.TLSv1_3 or cipher[0].startswith("ECDHE-")


def test_a_client_rejects_another_certificate(secure: Gateway) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        shaken(secure, ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        shaken(secure, trust(secure), "other.example.org")


def test_old_tls_versions_are_refused(secure: Gateway) -> None:
    port = secure.ports["reasoning"]
    for version, says in (("-tls1", False), ("-tls1_1", False), ("-tls1_2", True)):
        # At the lowest level of security this client would take anything.
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "ALL:@SECLEVEL=0"]
        done = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=20)
        assert (b"BEGIN CERTIFICATE" in done.stdout) == says, (version, done.stderr[-300:])


def test_the_page_and_the_api_answer(secure: Gateway) -> None:
    for path in ("/status.json", "/health", "/v1/models"):
        assert ask(secure, path).status == 200, path
    page = ask(secure, "/status").body.decode()
    # What is copied from the page works: it names the port and how it is spoken to.
    assert f"https://127.0.0.1:{secure.ports['reasoning']}/v1" in page
    assert "http://" not in page
    whole = ask(secure, "/v1/chat/completions", chat(model=REASONING_MODEL))
    assert (whole.status, whole.headers["x-herd-tier"]) == (200, "reasoning")
    stream = ask(secure, "/v1/chat/completions", chat(model=REASONING_MODEL, stream=True), tier="fast")
    assert stream.body.rstrip().endswith(b"data: [DONE]")
    unavailable = ask(secure, "/v1/chat/completions", chat(), tier="fast")
    assert (unavailable.status, unavailable.error["code"]) == (503, "tier_unavailable")


def test_openais_client_over_tls(secure: Gateway) -> None:
    url = f"https://127.0.0.1:{secure.ports['reasoning']}/v1"
    with openai.DefaultHttpxClient(verify=trust(secure)) as http:
        sdk = openai.OpenAI(base_url=url, api_key="herd-key-of-ann", http_client=http, max_retries=0, timeout=60)
        hello: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
        with sdk.chat.completions.create(model=REASONING_MODEL, messages=hello, max_tokens=20, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert len([piece for piece in pieces if piece]) >= 15


def test_the_role_verifies_the_gateway_over_tls(secure: Gateway, tmp_path: Path) -> None:
    """Its last tasks, as Ansible runs them: in the clear nginx would answer 400."""
    tiers = [{"name": "reasoning", "kind": "distributed", "gateway_port": secure.ports["reasoning"], "models": []}]
    given = {"gateway_tiers": tiers, "gateway_models": {}, "gateway_tls": True, "herd_shared_directory": "/none"}
    role = {"name": "herd.inference.gateway", "tasks_from": "verify"}
    play: dict[str, Any] = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    play["vars"] = {**given, "ansible_python_interpreter": sys.executable}
    play["tasks"] = [{"name": "Prove it", "ansible.builtin.import_role": role}]
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(tmp_path / "play.yml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok=1 " in done.stdout
