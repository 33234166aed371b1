# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door: decides for nginx what becomes of every request, and counts what became of it.

nginx asks over a Unix socket, and the connections stay open. A request that nginx's process cannot take where it
belongs (since an engine has just come or gone, or since its body names another model) is taken there by the door
itself, byte by byte as it comes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from herd.agent.gateway_state import DEFAULT_PATH, FRESH_S, Keys, Settings, Tiers, read_settings, say
from herd.agent.service import notify
from herd.core import door_http, door_rules
from herd.core.door_http import Answer, Request
from herd.core.door_rules import SOON, Door, Forward
from herd.core.errors import InvalidInputError
from herd.core.gateway_metrics import Metrics, parse_line

CONNECT_S = 5.0
CHUNK = 64 * 1024
#: Beyond the body itself: what JSON takes when a longer name is put into it, and nginx's own limit comes first.
SLACK = 64 * 1024
ALIVE_EVERY_S = 5.0
FIRST_FD = 3


class Gateway:
    """What all connections share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.door = Door(settings.site)
        self.metrics = Metrics(settings.site.tiers)
        self._keys = Keys(settings)
        self.tiers = Tiers(settings)
        self._looked = -1.0

    def look(self) -> None:
        """Read what changed."""
        now = time.monotonic()
        if now - self._looked < FRESH_S:
            return
        self._looked = now
        self.door.keys, self.door.revoked = self._keys.look()
        before = {name: (tier.state, tier.endpoint) for name, tier in self.door.now.items()}
        self.door.now = self.tiers.look()
        for name, tier in self.door.now.items():
            if before and before.get(name) != (tier.state, tier.endpoint):
                say(f"tier {name}: {tier.state} {tier.endpoint} {'' if tier.is_ready else tier.reason}".rstrip())

    def answer(self, request: Request) -> Answer | Forward:
        """Answer a request, or say where it goes."""
        self.look()
        if request.header("x-herd-gone"):
            return self.door.gone(request)
        page = self._page(request)
        if page is not None:
            return page
        return self.door.decide(request, time.time(), time.monotonic())

    def _page(self, request: Request) -> Answer | None:
        """Answer what the door itself knows, to everybody: it names no user and holds no secret."""
        path = request.target.partition("?")[0]
        tier = request.header("x-herd-port-tier")
        first, _slash, rest = path[1:].partition("/")
        if first in self.settings.site.tiers:
            tier, path = first, "/" + rest
        pages = {
            "/health": self._health,
            "/v1/health": self._health,
            "/metrics": self._metrics,
            "/status.json": self._status_json,
        }
        page = pages.get(path)
        if page is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return door_http.error(405, f"{path} is asked with GET.", "method_not_allowed", {"Allow": "GET, HEAD"})
        return page(tier)

    def _health(self, tier: str) -> Answer:
        now = self.door.tier_now(tier)
        return door_http.as_json(200, {"status": "ok"}) if now.is_ready else door_rules.away(tier, now)

    def _metrics(self, _tier: str) -> Answer:
        states = {name: self.door.tier_now(name).state for name in self.settings.site.tiers}
        text = self.metrics.text(states)
        return Answer(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _status_json(self, _tier: str) -> Answer:
        view = self.tiers.view if not self.tiers.is_silent else {}
        return door_http.as_json(200, {"view": view, "measured": self.metrics.summary()})


class Connection(asyncio.Protocol):
    """A connection of nginx, with one request after the other."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: Any = None
        self._buffer = bytearray()
        self._request: Request | None = None
        self._length = 0
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was done for a client that has left."""
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Wait, since nginx, and so the client, takes less than the engine gives."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and answer what is whole."""
        self._buffer += data
        while self._task is None and self._next():
            pass

    def _next(self) -> bool:
        if self._request is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > door_http.LONGEST_HEAD:
                    self._transport.close()
                return False
            try:
                self._request, self._length = door_http.parse_head(bytes(self._buffer[:end]))
            except door_http.HeadError as error:
                self._transport.write(door_http.render(door_http.error(400, f"Bad request: {error}.", "bad_request")))
                self._transport.close()
                return False
            del self._buffer[: end + 4]
            if self._length > self._gateway.settings.max_body + SLACK:
                self._transport.write(door_http.render(door_http.error(413, "The body is too large.", "too_large")))
                self._transport.close()
                return False
        if len(self._buffer) < self._length:
            return False
        request = replace(self._request, body=bytes(self._buffer[: self._length]))
        del self._buffer[: self._length]
        self._request = None
        self._handle(request)
        return True

    def _handle(self, request: Request) -> None:
        target = request.header("x-herd-relay")
        if target:
            self._gateway.metrics.relayed += 1
            self._task = asyncio.get_running_loop().create_task(self._relay(request, target))
            return
        verdict = self._gateway.answer(request)
        if isinstance(verdict, Forward):
            self._transport.write(door_http.render(Answer(200, headers=verdict.headers())))
            return
        self._write(verdict, request)

    def _write(self, answer: Answer, request: Request) -> None:
        if answer.status >= 400:
            with suppress(ValueError, KeyError, TypeError):
                self._gateway.metrics.refuse(json.loads(answer.body)["error"]["code"])
        self._transport.write(door_http.render(answer, with_body=request.method != "HEAD"))

    async def _relay(self, request: Request, target: str) -> None:
        """Take a request to an engine, and its answer back as it comes."""
        endpoint, _blank, model = target.partition(" ")
        host, _colon, port = endpoint.partition(":")
        body = request.body
        data = door_rules.read_body(request) if model else None
        if data is not None:
            body = json.dumps({**data, "model": model}).encode()
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port), limit=CHUNK), CONNECT_S)
        except (OSError, ValueError, asyncio.TimeoutError):
            self._write(self._ended(request), request)
            self._task = None
            return
        try:
            writer.write(self._engine_head(request, endpoint, len(body)) + body)
            await writer.drain()
            began = False
            while True:
                chunk = await reader.read(CHUNK)
                if not chunk:
                    break
                began = True
                self._transport.write(chunk)
                await self._may_write.wait()
            if not began:
                self._write(self._ended(request), request)
        except OSError:
            # nginx sees from the answer's form that it did not come to its end, and so does the client.
            pass
        finally:
            writer.close()
            # Where the answer ends is for nginx to see; a connection that has carried one is not used again.
            self._transport.close()

    def _ended(self, request: Request) -> Answer:
        tier = request.header("x-herd-tier")
        self._gateway.look()
        now = self._gateway.door.tier_now(tier)
        if now.is_ready:
            now = replace(now, state="failing", reason="its engine ended before it answered", retry_after=SOON)
        return door_rules.away(tier, now)

    @staticmethod
    def _engine_head(request: Request, endpoint: str, length: int) -> bytes:
        names = ("authorization", "content-type", "accept", "anthropic-version")
        given = [f"{name}: {request.header(name)}" for name in names if request.header(name)]
        path = request.target
        lines = [f"POST {path} HTTP/1.1", f"Host: {endpoint}", *given, f"Content-Length: {length}", "Connection: close"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def given_sockets() -> list[socket.socket]:
    """Take the sockets that systemd holds for us, so that nothing is lost while the door restarts."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=number) for number in range(FIRST_FD, FIRST_FD + count)]


def own_socket(path: str, kind: int) -> socket.socket:
    """Make a socket where systemd holds none."""
    Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(path)
    return made


def sockets(arguments: argparse.Namespace) -> tuple[socket.socket, socket.socket]:
    """Give the socket of requests and the one of log lines."""
    found = given_sockets() or [
        own_socket(path, kind)
        for path, kind in ((arguments.socket, socket.SOCK_STREAM), (arguments.log_socket, socket.SOCK_DGRAM))
        if path
    ]
    by_kind = {made.type: made for made in found}
    if set(by_kind) != {socket.SOCK_STREAM, socket.SOCK_DGRAM}:
        raise InvalidInputError(
            "a stream and a datagram socket", f"{len(found)} sockets", "start herd-door.socket, or give both paths"
        )
    for made in found:
        made.setblocking(False)
    return by_kind[socket.SOCK_STREAM], by_kind[socket.SOCK_DGRAM]


def count_lines(gateway: Gateway, log: socket.socket) -> None:
    """Count the requests that have ended."""
    with suppress(BlockingIOError):
        for _each in range(256):
            gateway.metrics.add(parse_line(log.recv(CHUNK)))


async def serve(settings: Settings, listening: Sequence[socket.socket]) -> None:
    """Serve until systemd ends it."""
    requests, log = listening
    gateway = Gateway(settings)
    gateway.look()
    loop = asyncio.get_running_loop()
    loop.add_reader(log.fileno(), count_lines, gateway, log)
    server = await loop.create_unix_server(lambda: Connection(gateway), sock=requests, backlog=1024)
    notify("READY=1")
    tiers = ", ".join(settings.site.tiers)
    say(f"at the door of {tiers}")
    async with server:
        while True:
            notify("WATCHDOG=1")
            await asyncio.sleep(ALIVE_EVERY_S)
            gateway.look()


def door_command(arguments: argparse.Namespace) -> int:
    """Run the door."""
    settings = read_settings(arguments.config)
    asyncio.run(serve(settings, sockets(arguments)))
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl door)."""
    door = commands.add_parser(
        "door",
        help="decide for nginx what becomes of requests (what herd-door.service runs)",
        description="Checks keys and limits, chooses tier and model, says why a tier is away, counts what was served.",
    )
    door.add_argument("--config", default=DEFAULT_PATH, help="what was installed (default: %(default)s)")
    door.add_argument("--socket", default="", help="where nginx asks, if systemd does not hold a socket for it")
    door.add_argument("--log-socket", default="", help="where nginx sends its log, likewise")
    door.set_defaults(run=door_command)
