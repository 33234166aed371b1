# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of nginx's own errors, their log lines, and CORS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.wire import KEY, raw, request

SITE = "https://chat.example.org"
HOST = b"Host: gateway\r\n"


def parted(answer: bytes) -> tuple[int, str, Any]:
    head, _empty, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    kinds = [field.partition(": ")[2] for field in fields if field.lower().startswith("content-type:")]
    return int(status.split(" ")[1]), kinds[0], json.loads(body)


def line(made: Gateway, **wanted: Any) -> dict[str, Any]:
    """Return the last matching line of the access log, or of nginx's log of what it has answered itself."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [each for each in (*made.refused(), *made.access()) if wanted.items() <= each.items()]
        return bool(found)

    wait_for(is_there, f"a line with {wanted}", 5)
    return found[-1]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (request("/v1/models", KEY, method="TRACE"), 405, "method_not_allowed"),
        (b"GET /v1/models HTTP/3.0\r\n" + HOST + b"\r\n", 505, "http_version_not_supported"),
        (request("/v1/models", "Transfer-Encoding: gzip"), 501, "not_implemented"),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x00\xa5\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, "headers_too_large"),
        (request("/v1/models", "X-Long: " + "x" * 70_000), 431, "headers_too_large"),
        (request("/v1/embeddings", KEY, f"Content-Length: {1 << 40}"), 413, "request_too_large"),
    ],
)
def test_nginxs_own_errors_have_openais_shape(
    made: Gateway, engines: dict[str, Engine], data: bytes, status: int, code: str
) -> None:
    found, kind, body = parted(raw(made, data, limit=2))
    assert (found, kind, body["error"]["code"]) == (status, "application/json", code)
    assert body["error"]["message"]
    assert {"message", "type", "param", "code"} == set(body["error"])


def test_plain_http_at_a_tls_port_is_an_error(made: Gateway, engines: dict[str, Engine]) -> None:
    names = {
        "gateway_tls_certificate_file": str(made.root / "tls.crt"),
        "gateway_tls_key_file": str(made.root / "tls.key"),
    }
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=gateway", "-days", "2"]
    command += ["-out", names["gateway_tls_certificate_file"], "-keyout", names["gateway_tls_key_file"]]
    subprocess.run(command, check=True, capture_output=True)
    made.configure(gateway_tls=True, **names)
    made.reload_nginx()
    try:

        def says() -> bool:
            answer = raw(made, request("/v1/models", KEY, method="GET"))
            return answer.startswith(b"HTTP/1.1 400") and parted(answer)[2]["error"]["code"] == "https_required"

        wait_for(says, "HTTPS", 5)
    finally:
        made.configure()
        made.reload_nginx()
    wait_for(lambda: raw(made, request("/health", method="GET")).startswith(b"HTTP/1.1 200"), "HTTP", 5)


def test_the_log_names_refused_requests(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    raw(made, request("/v1/embeddings?secret=1", KEY, f"Content-Length: {1 << 40}"), limit=1)
    assert line(made, status=413, method="POST", path="/v1/embeddings", refused="request_too_large")
    connection, answer = client.open(chat(300, model=REASONING_MODEL, stream=True), key="herd-key-of-meg")
    assert answer.status == 200
    answer.read(10)
    overloaded = client.ask(chat(model=REASONING_MODEL), key="herd-key-of-meg", path="/reasoning/v1/chat/completions")
    connection.close()
    assert overloaded.error["code"] == "concurrency_exceeded"
    found = line(made, status=429, key="meg", path="/reasoning/v1/chat/completions")
    assert found["method"] == "POST"
    assert found["refused"] == "concurrency_exceeded"
    assert "engine" not in found
    metrics = client.ask(path="/metrics", key=None).body.decode()
    assert 'herd_gateway_refused_total{code="concurrency_exceeded"}' in metrics
    assert 'herd_gateway_requests_total{status="429"' not in metrics
    raw(made, request("/v1/models", KEY, method="TRACE"))
    assert line(made, status=405, method="TRACE", path="/v1/models")
    # What is no HTTP at all has neither, and is counted all the same.
    raw(made, b"\x16\x03\x01\x00\xa5\r\n\r\n")
    assert line(made, status=400, method="", refused="bad_request")


def test_the_log_has_no_text_from_unknown_tasks(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    secret = "rewrite-this-of-nobody"
    for path in (f"/task/{secret}/v1/chat/completions", f"/task/{secret}%20%ff", f"/task/{secret}"):
        client.ask(chat(), path=path)
    client.ask(chat(model=f"task:{secret} and more"))
    client.ask(chat(), headers={"X-Herd-Task": f"{secret} and more"})
    # Bytes that are not UTF-8 would make the line unreadable.
    raw(made, b"GET /v1/\xff\xfe HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    raw(made, request("/v1/%ff%fe", method="GET"))
    assert line(made, status=404, path="/v1/%ff%fe")
    answer = client.ask(chat(2), path="/task/fix/v1/chat/completions")
    assert answer.headers["x-herd-model"] == FAST_MODEL
    found = line(made, id=answer.headers["x-request-id"])
    assert (found["task"], found["path"]) == ("fix", "/task/v1/chat/completions")
    assert secret not in made.log("access") + made.log("nginx-own")


def test_nginx_answers_and_logs_while_the_gateway_process_is_down(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    path, aside = made.root / "gateway.sock", made.root / "aside.sock"
    path.rename(aside)
    try:
        wait_for(lambda: client.ask(chat()).status == 503, "no gateway", 5)
        answer = client.ask(chat())
        assert (answer.status, answer.error["code"]) == (503, "gateway_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    finally:
        aside.rename(path)
    assert line(made, status=503, method="POST", path="/v1/chat/completions", refused="gateway_unavailable")
    wait_for(lambda: client.ask(chat()).status == 200, "the gateway", 5)


def test_an_invalid_request_does_not_affect_others(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    for _each in range(100):
        assert raw(made, b"GET /v1/\xff\xfe HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")[9:12] == b"400"
        assert client.ask(path="/v1/models").status == 200


def test_nginx_logs_no_errors(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    raw(made, b"GET /v1/models HTTP/3.0\r\n" + HOST + b"\r\n")
    raw(made, b"\x16\x03\x01\x00\xa5\r\n\r\n")
    assert client.ask(path="/health").status == 200
    assert "uninitialized" not in made.log("error")


def test_head_of_the_model_list_has_no_body(client: Client, engines: dict[str, Engine]) -> None:
    answer = client.ask(method="HEAD", path="/v1/models")
    assert (answer.status, answer.body) == (200, b"")
    assert client.ask(method="HEAD", path="/v1/models", key=None).status == 401
    assert client.ask(method="HEAD", path="/v1/chat/completions").status == 405


@pytest.fixture
def browsers(made: Gateway) -> Iterator[None]:
    """Allow one origin."""
    made.configure(gateway_cors_origins=[SITE])
    made.reload_nginx()
    try:
        wait_for(lambda: all(preflight(made)[0] == 204 for _each in range(8)), "nginx knows the site", 10)
        yield
    finally:
        made.configure()
        made.reload_nginx()
        wait_for(lambda: all(preflight(made)[0] == 405 for _each in range(8)), "nginx without it", 10)


def preflight(made: Gateway, origin: str = SITE) -> tuple[int, dict[str, str]]:
    asked = [
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization, content-type, x-herd-task",
    ]
    answer = raw(made, request("/v1/chat/completions", f"Origin: {origin}", *asked, method="OPTIONS"))
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    fields = dict(field.lower().split(": ", 1) for field in head[1:])
    return int(head[0].split(" ")[1]), {
        name: value for name, value in fields.items() if name.startswith("access-control")
    }


def test_other_origins_are_not_allowed(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    assert preflight(made) == (405, {})
    answer = client.ask(chat(), headers={"Origin": SITE})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_configured_origin_is_allowed(
    client: Client, made: Gateway, engines: dict[str, Engine], browsers: None
) -> None:
    status, fields = preflight(made)
    assert status == 204
    assert fields["access-control-allow-origin"] == SITE
    assert fields["access-control-allow-headers"] == "authorization, content-type, x-herd-task"
    assert "post" in fields["access-control-allow-methods"]
    assert preflight(made, "https://evil.example.org")[0] == 405
    asked: list[dict[str, Any]] = [
        {"body": chat(2)},
        {"body": chat(2, stream=True)},
        {"path": "/v1/models"},
        {"path": "/status.json", "key": None},
        {"body": chat(), "key": None},
        {"body": chat(model="none")},
        {"body": b"x" * (33 << 20), "method": "POST"},
    ]
    for more in asked:
        answer = client.ask(headers={"Origin": SITE}, **more)
        assert answer.headers["access-control-allow-origin"] == SITE, more
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]
        other = client.ask(headers={"Origin": "https://evil.example.org"}, **more)
        assert "access-control-allow-origin" not in other.headers
        assert "access-control-expose-headers" not in other.headers
