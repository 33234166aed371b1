# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One gateway for all tests, with a router as the fast tier and one model as the reasoning tier."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, gateway


@dataclass
class Reply:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, in OpenAI's shape and nothing else."""
        assert self.headers["content-type"].startswith("application/json")
        error = self.data["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        return dict(error)


def chat(tokens: Any = 4, **more: Any) -> dict[str, Any]:
    """Make a chat request."""
    return {"messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens, **more}


class Client:
    """A plain HTTP client, which controls each byte."""

    def __init__(self, made: Gateway) -> None:
        self.gateway = made

    def open(
        self,
        body: Any = None,
        tier: str = "fast",
        path: str = "/v1/chat/completions",
        key: str | None = "herd-key-of-ann",
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        given = {"Content-Type": "application/json", **(headers or {})}
        if key is not None:
            given["Authorization"] = f"Bearer {key}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.gateway.ports[tier], timeout=60)
        connection.request(method, path, data, given)
        return connection, connection.getresponse()

    def ask(self, body: Any = None, **more: Any) -> Reply:
        if body is None:
            more.setdefault("method", "GET")
        connection, answer = self.open(body, **more)
        try:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def made() -> Iterator[Gateway]:
    """A gateway without engines, in a folder with a short path, since socket paths must be short."""
    root = Path(tempfile.mkdtemp(prefix="herd-gateway-", dir="/tmp"))
    try:
        with gateway(root) as found:
            yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def client(made: Gateway) -> Client:
    return Client(made)


@pytest.fixture(scope="session")
def engines(made: Gateway) -> dict[str, Engine]:
    """Engines of both tiers."""
    found = {"fast": made.router(FAST_MODEL, "small-two"), "reasoning": made.engine(REASONING_MODEL)}
    settle(made, found)
    return found


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """Restore both tiers for the next test, and check that the gateway still runs."""
    yield
    if "engines" in request.fixturenames:
        made, engines = request.getfixturevalue("made"), request.getfixturevalue("engines")
        if any(_endpoint(made, tier) != engine.port for tier, engine in engines.items()):
            settle(made, engines)
        assert made.processes["gateway"].poll() is None, made.log("gateway")[-2000:]


def _endpoint(made: Gateway, tier: str) -> int:
    entries = made.tiers[tier]["endpoints"]
    return int(entries[0]["port"]) if entries else 0


def settle(made: Gateway, engines: Mapping[str, Engine]) -> None:
    """Report all engines as ready."""
    models = {"fast": [FAST_MODEL, "small-two"], "reasoning": [REASONING_MODEL]}
    for tier, engine in engines.items():
        made.ready(tier, engine.port, models[tier])
