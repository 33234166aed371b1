# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway in the test's own process, and an engine that answers with any bytes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import settings as gateway_settings
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import status
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.handlers import Gateway
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.service import make_server
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import user_keys

KEY, OTHER_KEY = "herd-ann", "herd-bob"
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Engine:
    """An engine that runs a script for each connection.

    :ivar requests: heads and bodies that it has received.
    """

    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    port: int = 0
    requests: list[tuple[str, bytes]] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next((int(line[16:]) for line in head.split("\r\n") if line.lower()[:15] == "content-length:"), 0)
            self.requests.append((head, await reader.readexactly(length)))
            await self.script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return a script that sends these bytes and closes the connection."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return script


def whole(body: bytes, status: str = "200 OK", headers: str = "Content-Type: application/json\r\n") -> bytes:
    """Write a response with its length."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def event(data: Any) -> bytes:
    """Write an event as a chunk."""
    text = b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


def token(text: str = "x") -> bytes:
    """Write a token of a chat stream as a chunk."""
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Running:
    """A gateway that serves on a socket."""

    gateway: Gateway
    root: Path
    engine: Engine
    client: aiohttp.ClientSession

    def post(
        self,
        body: Any = None,
        path: str = "/v1/chat/completions",
        key: str = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        body = CHAT if body is None else body
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json", "X-Herd-Entry": "fast", **(headers or {})}
        if key:
            given["Authorization"] = f"Bearer {key}"
        return self.client.post(f"http://gateway{path}", data=data, headers=given)

    def get(self, path: str, key: str = KEY, headers: Mapping[str, str] | None = None) -> Any:
        given = {"X-Herd-Entry": "fast", **({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        return self.client.get(f"http://gateway{path}", headers=given, allow_redirects=False)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log."""
        self.gateway.access_log.flush()
        path = self.root / "access.log"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def line(self) -> dict[str, Any]:
        """Return the line of the last request to an engine."""
        return [line for line in self.log() if line["method"] == "POST"][-1]

    async def metrics(self) -> dict[str, float]:
        """Return the values of all metrics, by name and labels."""
        async with self.get("/metrics", key="") as response:
            lines = (await response.text()).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def report(self, slots: int = 4, host: str = "127.0.0.1", **tier: Any) -> None:
        """Write the status of the tiers."""
        entry = {
            "schema": 1,
            "tier": "fast",
            "job_id": "1",
            "host": "lab",
            "address": host,
            "port": self.engine.port,
            "models": ["small", "modèle"],
            "state": "ready",
            "percent": 100,
            "context": 8192,
            "slots": slots,
            "release": "r",
            "started": 1.0,
            "heartbeat": time.time(),
        }
        fast = {"enabled": True, "state": "ready", "reason": "ready", "endpoints": [entry], **tier}
        away = {"enabled": True, "state": "stopped", "reason": "stopped by an operator", "endpoints": []}
        data = {"schema": 1, "written": time.time(), "tiers": {"fast": fast, "reasoning": away}}
        scratch = self.root / "tiers.new"
        scratch.write_text(json.dumps(data), encoding="utf-8")
        scratch.replace(self.root / "tiers.json")
        self.gateway.state.refresh(at_once=True)


def settings_data(root: Path, **more: Any) -> dict[str, Any]:
    """Return a configuration as the role writes it."""
    tiers = [
        {"name": "fast", "kind": "distributed", "port": 1, "fallback": "", "models": ["small"], "keys": ["small"]},
        {"name": "reasoning", "kind": "router", "port": 2, "fallback": "", "models": ["large"], "keys": ["large"]},
    ]
    return {
        "schema": 1,
        "tiers": [{"engine_key": f"{root}/engine-key", **tier} for tier in tiers],
        "limits": {"default": {"requests_per_minute": 0, "burst": 1, "concurrency": 0}},
        "tasks": {"schema": 1, "types": {}, "default": None},
        "keys": f"{root}/keys.json",
        "revoked": f"{root}/revoked.json",
        "tier_status": f"{root}/tiers.json",
        "registry": f"{root}/endpoints",
        "engine_hosts": ["127.0.0.1"],
        "max_body": 4 << 20,
        "body_memory": 16 << 20,
        "connect_timeout": 2,
        "read_timeout": 30,
        "queue_timeout": 5,
        "gpu_memory": {"target_from_gib": 26, "target_to_gib": 28, "critical_gib": 30},
        "drain_timeout": 5,
        "retry_after": 5,
        "access_log": f"{root}/access.log",
        "usage": f"{root}/usage.sqlite3",
        "usage_days": 400,
        **more,
    }


@asynccontextmanager
async def running(
    root: Path,
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    slots: int = 4,
    users: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Running]:
    """Run a gateway whose tier C(fast) has an engine with this script."""
    users = users or {}
    entries = [
        {"id": name, "sha256": user_keys.sha256(key), **users.get(name, {})}
        for name, key in (("ann", KEY), ("bob", OTHER_KEY))
    ]
    data = settings_data(root, **more)
    keys = user_keys.parse(entries, data["limits"], ["fast", "reasoning"])
    (root / "keys.json").write_text(json.dumps(user_keys.as_data(keys)), encoding="utf-8")
    (root / "engine-key").write_text("engine-key\n", encoding="utf-8")
    (root / "gateway.json").write_text(json.dumps(data), encoding="utf-8")
    (root / "endpoints").mkdir(exist_ok=True)
    engine = Engine(script)
    listening = await asyncio.start_server(engine, "127.0.0.1", 0)
    engine.port = listening.sockets[0].getsockname()[1]
    gateway = Gateway(gateway_settings.read_settings(str(root / "gateway.json")))
    server = make_server(gateway)
    loop = asyncio.get_running_loop()
    accepting = await loop.create_unix_server(server, str(root / "gateway.sock"))
    connector = aiohttp.UnixConnector(str(root / "gateway.sock"), force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
        made = Running(gateway, root, engine, client)
        made.report(slots)
        try:
            yield made
        finally:
            accepting.close()
            await server.shutdown(1)
            await gateway.engines.close()
            await gateway.usage.close()
            listening.close()


ANSWER = b'{"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}'
OK = answer(whole(ANSWER))


def serve(
    root: Path, check: Callable[[Running], Awaitable[None]], script: Any = OK, slots: int = 4, **more: Any
) -> None:
    """Run a check against a gateway."""

    async def run() -> None:
        async with running(root, script, slots, **more) as made:
            await asyncio.wait_for(check(made), 30)

    # The tests count what has just happened.
    with mock.patch.object(status, "KEPT_S", 0.0):
        asyncio.run(run())


async def code(request: Any) -> tuple[int, str]:
    """Return the status and the error's code of a request. Each response has the request's id."""
    async with request as response:
        assert response.headers["X-Request-Id"]
        body = await response.json()
        return response.status, str(body.get("error", {}).get("code"))
