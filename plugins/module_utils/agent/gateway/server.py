# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway: decides for nginx what becomes of every request, and counts what became of it.

nginx asks over a Unix socket, and the connections stay open. A request that nginx's process cannot take where it
belongs (since an engine has just come or gone, since its body names another model, or since it is a stream) is taken
there by the gateway itself (C(proxy)).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Union

from ...core.errors import InvalidInputError
from ...core.gateway import api_errors, response_stream, routing, status_page, task_routing
from ...core.gateway import http as gateway_http
from ...core.gateway import status as gateway_status
from ...core.gateway.http import Answer, Request
from ...core.gateway.metrics import Metrics, entry, parse_line, read_line
from ...core.gateway.routing import Forward, Router
from ..common.log import log
from ..common.systemd_notify import notify
from .proxy import Relay
from .stalled_upstreams import end_frozen
from .state import DEFAULT_PATH, FRESH_S, Keys, Settings, Tiers, read_settings
from .status_page.assets import read_assets

CHUNK = 64 * 1024
#: Seconds after a request for which the next one is expected.
AWAKE_S = 5.0
#: Beyond the body itself: what JSON takes when a longer name is put into it, and nginx's own limit comes first.
SLACK = 64 * 1024
ALIVE_EVERY_S = 5.0
#: Seconds for which lines of the log wait for others, so that they are not in the way of the next request.
LINES_EVERY_S = 0.05
#: Answers of which something is known for the log, at most: of a line that nginx never sent nothing must stay.
MOST_PASSED = 4096
FIRST_FD = 3
#: Bytes of bodies of which the gateway does not know yet what becomes of them, at most: whoever comes then comes again.
MOST_HELD = 256 << 20
#: Seconds after which a process that leaves ends answers that still run.
LEAVE_S = 4 * 3600.0


#: What the gateway does for a request until it knows what becomes of it, with pauses in which others have their turn.
Steps = Generator[None, None, Union[Answer, Forward]]


class Turns:
    """Requests whose bodies take a while to look through: a piece of each in turn, and everything else in between."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Steps, Callable[[Answer | Forward], None]]] = deque()
        self._is_on = False

    def take(self, steps: Steps, done: Callable[[Answer | Forward], None]) -> None:
        """Go on until it is known what becomes of a request; for most that is at once."""
        if not self._is_over(steps, done):
            self._waiting.append((steps, done))
            self._go_on()

    @staticmethod
    def _is_over(steps: Steps, done: Callable[[Answer | Forward], None]) -> bool:
        try:
            next(steps)
        except StopIteration as end:
            # Steps that were closed, since nobody waits for them any more, end with nothing.
            if end.value is not None:
                done(end.value)
            return True
        return False

    def _go_on(self) -> None:
        if self._waiting and not self._is_on:
            self._is_on = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_on = False
        steps, done = self._waiting.popleft()
        try:
            if not self._is_over(steps, done):
                self._waiting.append((steps, done))
        finally:
            self._go_on()


@dataclass(frozen=True)
class Passed:
    """What is known of an answer that the gateway has passed on.

    :ivar is_whole: whether it came to its end, or was a refusal of ours.
    """

    tier: str
    endpoint: str
    tokens: response_stream.Tokens
    is_whole: bool
    ttft: float | None = None


def read_passed(data: Any) -> tuple[str, Passed]:
    """Read what another gateway has handed on.

    :raises TypeError, KeyError: for what none has.
    """
    known = {**data["known"], "tokens": response_stream.Tokens(**data["known"]["tokens"])}
    return str(data["id"]), Passed(**known)


class Gateway:
    """What all connections share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.router = Router(settings.site)
        self.metrics = Metrics(settings.site.tiers)
        self._keys = Keys(settings)
        self.tiers = Tiers(settings)
        self._tasks = task_routing.read(settings.raw["tasks"]) if settings.raw.get("tasks") else task_routing.EMPTY
        self._assets = read_assets()
        self._looked = -1.0
        self._awake_until, self._is_awake = -1.0, False
        self._passed: dict[str, Passed] = {}
        self._lines: list[str] = []
        self.turns = Turns()
        self.held = 0
        #: Set when another process is about to take over: connections end with their next answer.
        self.is_leaving = False
        #: Sends the record of a completed response to the next gateway process.
        self.hand_on: Callable[[bytes], None] | None = None
        self.connections: set[Connection] = set()

    def look(self) -> None:
        """Read what changed."""
        now = time.monotonic()
        if now - self._looked < FRESH_S:
            return
        self._looked = now
        self.router.admitted = self._keys.look()
        before = {name: (tier.state, tier.endpoint) for name, tier in self.router.now.items()}
        self.router.now = self.tiers.look()
        for name, tier in self.router.now.items():
            if before and before.get(name) != (tier.state, tier.endpoint):
                log(f"tier {name}: {tier.state} {tier.endpoint} {'' if tier.is_ready else tier.reason}".rstrip())

    def _expect_more(self) -> None:
        """While there are requests, look at files between them, and not while one waits."""
        self._awake_until = time.monotonic() + AWAKE_S
        if not self._is_awake:
            self._is_awake = True
            asyncio.get_running_loop().call_later(FRESH_S / 2, self._stay_awake)

    def _stay_awake(self) -> None:
        self._is_awake = time.monotonic() < self._awake_until
        if self._is_awake:
            self._looked = -1.0
            self.look()
            asyncio.get_running_loop().call_later(FRESH_S / 2, self._stay_awake)

    def relays(self) -> list[Relay]:
        """Give the answers that are on their way through the gateway."""
        return [wire.relay for wire in self.connections if wire.relay]

    def ready(self) -> set[str]:
        """Give the engines to which requests may go."""
        self.look()
        return {now.endpoint for now in self.router.now.values() if now.is_ready}

    def why_cut(self, tier: str) -> str:
        """Say why an answer of a tier ends before its end."""
        self._looked = -1.0
        self.look()
        now = self.router.tier_now(tier)
        why = "its engine ended" if now.is_ready else now.reason
        return f"The answer of the tier {tier} ends here: {why}. What came before is part of it."

    def failed(self, tier: str, status: str) -> Answer:
        """Say that an engine gave no answer."""
        self.look()
        answer = routing.failing(tier, self.router.tier_now(tier), status)
        # nginx says it of everything that it takes to the gateway again.
        answer.headers.pop("X-Herd-Tier", None)
        return answer

    def passed(self, identity: str, known: Passed) -> None:
        """Keep what is known of an answer until nginx says how its request ended."""
        if self.is_leaving and self.hand_on:
            # The line of the log comes to the next gateway, and after this: both come over the same socket.
            self.hand_on(json.dumps({"passed": {"id": identity, "known": asdict(known)}}).encode())
            return
        self.metrics.count_tokens(known.tier, known.tokens)
        if len(self._passed) >= MOST_PASSED:
            self._passed.pop(next(iter(self._passed)))
        self._passed[identity] = known

    def ended(self, raw: bytes) -> None:
        """Count and log a request that has ended, or take what a former gateway knows of one."""
        data = read_line(raw)
        if data is not None and "passed" in data:
            with suppress(TypeError, KeyError):
                self.passed(*read_passed(data["passed"]))
            return
        known = self._passed.pop(str(data.get("id", "")), None) if data else None
        if data is not None and known is not None:
            data["engine"] = known.endpoint
            # nginx has only seen when the head came, or a sign of life.
            data["ttft"] = "-" if known.ttft is None else f"{known.ttft:.3f}"
            if not known.is_whole:
                data["complete"] = ""
        if data is not None and data.get("refused"):
            # nginx has done so itself, and no engine has seen it.
            data["engine"] = ""
            self.metrics.refuse(str(data["refused"]))
        else:
            self.metrics.add(parse_line(data))
        if data is not None:
            self._lines.append(json.dumps(entry(data, known.tokens if known else response_stream.Tokens())))

    def write_log(self) -> None:
        """Write the lines of the access log. The file is opened each time, so that it may be rotated at any."""
        lines, self._lines = self._lines, []
        if lines and self.settings.access_log:
            try:
                with Path(self.settings.access_log).open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in lines))
            except OSError as error:
                log(f"{len(lines)} lines of the access log are lost: {error}")

    def answer(self, request: Request) -> Answer | Forward | Steps:
        """Answer a request, or say where it goes, or what has to be done before."""
        self.look()
        self._expect_more()
        if request.header("x-herd-gone"):
            return self.router.gone(request)
        page = self.router.preflight(request) or self._page(request)
        if page is not None:
            return page
        return self.router.steps(request, time.time(), time.monotonic())

    def _page(self, request: Request) -> Answer | None:
        """Answer what the gateway itself knows, to everybody: it names no user and holds no secret."""
        path = request.target.partition("?")[0]
        tier = request.header("x-herd-port-tier")
        first, _slash, rest = path[1:].partition("/")
        if first in self.settings.site.tiers:
            tier, path = first, "/" + rest
        pages = {
            "/health": self._health,
            "/v1/health": self._health,
            "/metrics": self._metrics,
            "/status": self._status_page,
            "/status.json": self._status_json,
            "/": self._first_page,
        }
        page = pages.get(path)
        if page is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return gateway_http.error(405, f"{path} is asked with GET.", "method_not_allowed", {"Allow": "GET, HEAD"})
        return page(request, tier)

    def _health(self, _request: Request, tier: str) -> Answer:
        now = self.router.tier_now(tier)
        return gateway_http.as_json(200, {"status": "ok"}) if now.is_ready else routing.away(tier, now)

    def _metrics(self, _request: Request, _tier: str) -> Answer:
        states = {name: self.router.tier_now(name).state for name in self.settings.site.tiers}
        text = self.metrics.text(states)
        return Answer(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _status(self) -> dict[str, Any]:
        seen, measured, tiers = self.tiers, self.metrics.summary(), self.settings.site.tiers
        if not self.settings.site.watch_streams:
            # What nginx carries nobody counts.
            for each in measured.values():
                del each["in_flight"]
        return gateway_status.collect(
            tiers, self.router.now, seen.view, measured, time.time(), self._tasks, seen.is_silent
        )

    def _status_json(self, _request: Request, _tier: str) -> Answer:
        return gateway_http.as_json(200, self._status(), {"Cache-Control": "no-store"})

    def _status_page(self, request: Request, _tier: str) -> Answer:
        # tailscale serve ends TLS, and says so.
        scheme = request.header("x-forwarded-proto") or request.header("x-herd-scheme")
        address = status_page.origin(request.header("x-herd-host"), scheme)
        body = status_page.render(self._status(), self._assets, address)
        return Answer(200, body, "text/html; charset=utf-8", status_page.headers(self._assets))

    def _first_page(self, _request: Request, _tier: str) -> Answer:
        return Answer(302, b"", headers={"Location": "status"})


class Connection(asyncio.Protocol):
    """A connection of nginx, with one request after the other.

    :ivar relay: the answer of an engine that is on its way over it.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: Any = None
        self._buffer = bytearray()
        self._request: Request | None = None
        self._length = 0
        self.relay: Relay | None = None
        self._is_noted = False
        self._steps: Steps | None = None
        self._held = 0

    def _hold(self, much: int) -> None:
        self._gateway.held += much - self._held
        self._held = much

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._gateway.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was done for a client that has left."""
        self._gateway.connections.discard(self)
        self._hold(0)
        if self._steps:
            self._steps.close()
        if self.relay:
            self.relay.abandon()
            self.note(self.relay)
            self.relay = None

    def pause_writing(self) -> None:
        """Wait, since nginx, and so the client, takes less than the engine gives."""
        if self.relay:
            self.relay.wait(True)

    def resume_writing(self) -> None:
        """Go on."""
        if self.relay:
            self.relay.wait(False)

    def data_received(self, data: bytes) -> None:
        """Take what has come, and answer what is whole."""
        self._buffer += data
        while self.relay is None and self._steps is None and self._next():
            pass

    def _next(self) -> bool:
        if self._request is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > gateway_http.LONGEST_HEAD:
                    self._transport.close()
                return False
            try:
                self._request, self._length = gateway_http.parse_head(bytes(self._buffer[:end]))
            except gateway_http.HeadError as error:
                return self._turn_away(gateway_http.error(400, f"Bad request: {error}.", "bad_request"))
            del self._buffer[: end + 4]
            if self._length > self._gateway.settings.max_body + SLACK:
                return self._turn_away(gateway_http.error(413, "The body is too large.", "too_large"))
            self._hold(self._length)
            if self._gateway.held > MOST_HELD:
                soon = {"Retry-After": str(routing.SOON)}
                busy = gateway_http.error(503, "Too many large requests at the same time.", "gateway_busy", soon)
                return self._turn_away(busy)
        if len(self._buffer) < self._length:
            return False
        request, self._request = self._request, None
        request.body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._handle(request)
        return True

    def _turn_away(self, answer: Answer) -> bool:
        """Refuse what was not read to its end. nginx is told that the connection ends: another's request is next."""
        answer.headers["Connection"] = "close"
        self._transport.write(gateway_http.render(answer))
        self._transport.close()
        return False

    def _handle(self, request: Request) -> None:
        target = request.header("x-herd-relay")
        if target:
            self._gateway.metrics.relayed += 1
            self._gateway.metrics.begin(request.header("x-herd-tier"))
            self._is_noted = False
            self.relay = Relay(self._gateway, self, request, target)
            self._hold(0)
            self.relay.begin()
            return
        found = self._gateway.answer(request)
        if isinstance(found, (Answer, Forward)):
            self._say(found, request)
            return
        self._steps = found
        self._gateway.turns.take(found, lambda verdict: self._say(verdict, request))

    def _say(self, verdict: Answer | Forward, request: Request) -> None:
        """Tell nginx what becomes of a request."""
        self._steps = None
        self._hold(0)
        if isinstance(verdict, Forward):
            verdict = Answer(200, headers=verdict.headers())
        self.refuse(verdict, request)

    def write(self, data: bytes) -> None:
        """Take a piece of an engine's answer."""
        self._transport.write(data)

    def refuse(self, answer: Answer, request: Request) -> None:
        """Send an answer of our own."""
        # Those for which a tier was asked are counted there.
        if answer.status >= 400 and not request.header("x-herd-relay") and not request.header("x-herd-gone"):
            with suppress(ValueError, KeyError, TypeError):
                self._gateway.metrics.refuse(json.loads(answer.body)["error"]["code"])
        answer = api_errors.for_path(request.target, answer)
        if self._gateway.is_leaving:
            answer.headers["Connection"] = "close"
        self._transport.write(gateway_http.render(answer, with_body=request.method != "HEAD"))
        if self._gateway.is_leaving:
            self._transport.close()

    def relayed(self, relay: Relay, stays: bool) -> None:
        """Go on after an engine's answer, or end as its head has said."""
        self.relay = None
        if not stays:
            self._transport.close()

    def note(self, relay: Relay) -> None:
        """Keep what is known of an answer for the line of the log, which nginx sends when the request has ended."""
        if self._is_noted:
            return
        self._is_noted = True
        tier = relay.request.header("x-herd-tier")
        self._gateway.metrics.end(tier)
        is_whole = relay.answer.is_whole or relay.is_refused
        known = Passed(tier, relay.endpoint, relay.tokens, is_whole, relay.ttft)
        self._gateway.passed(relay.request.header("x-request-id"), known)


def given_sockets() -> list[socket.socket]:
    """Take the sockets that systemd holds for us, so that nothing is lost while the gateway restarts."""
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
            "a stream and a datagram socket", f"{len(found)} sockets", "start herd-gateway.socket, or give both paths"
        )
    for made in found:
        made.setblocking(False)
    return by_kind[socket.SOCK_STREAM], by_kind[socket.SOCK_DGRAM]


def count_lines(gateway: Gateway, log: socket.socket) -> None:
    """Count the requests that have ended."""
    lines: list[bytes] = []
    with suppress(BlockingIOError):
        for _each in range(256):
            lines.append(log.recv(CHUNK))
    # What a former gateway knows of an answer comes first, since nginx may have been quicker.
    for line in sorted(lines, key=lambda each: b'{"passed":' not in each[:16]):
        gateway.ended(line)
    gateway.write_log()


def follow_log(gateway: Gateway, log: socket.socket) -> None:
    """Count the requests that have ended, some together, a moment after the first of them."""
    loop = asyncio.get_running_loop()

    def come() -> None:
        loop.remove_reader(log.fileno())
        loop.call_later(LINES_EVERY_S, take)

    def take() -> None:
        count_lines(gateway, log)
        if not gateway.is_leaving:
            loop.add_reader(log.fileno(), come)

    loop.add_reader(log.fileno(), come)


def sender(log: socket.socket) -> Callable[[bytes], None]:
    """Send to the socket from which the next gateway reads the lines of the log."""
    where = log.getsockname()

    def send(data: bytes) -> None:
        # One who does not take it now knows less of an answer, and nobody waits for that.
        with suppress(OSError):
            log.sendto(data, where)

    return send


async def serve(settings: Settings, listening: Sequence[socket.socket], lifeline: int) -> None:
    """Serve until told to leave, and then until the last answer has come to its end.

    :param lifeline: what can be read when the process that systemd knows has ended, however it did: from then on
        another gateway is at its place, or soon will be.
    """
    requests, log_socket = listening
    gateway = Gateway(settings)
    gateway.look()
    loop = asyncio.get_running_loop()
    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leaving.set)

    def alone() -> None:
        loop.remove_reader(lifeline)
        leaving.set()

    loop.add_reader(lifeline, alone)
    follow_log(gateway, log_socket)
    # Not create_unix_server, which removes the socket's file at the end from Python 3.13 on: it is systemd's.
    server = await loop.create_server(lambda: Connection(gateway), sock=requests, backlog=1024)
    looks = asyncio.ensure_future(end_frozen(gateway))
    notify("READY=1")
    log(f"gateway ready for the tiers {', '.join(settings.site.tiers)}")
    # What is there now stays: to look through it again and again would only make requests wait.
    gc.collect()
    gc.freeze()
    while not leaving.is_set():
        notify("WATCHDOG=1")
        gateway.look()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(leaving.wait(), ALIVE_EVERY_S)
    # Whoever comes next has the same sockets: what arrives from now on waits there. A connection that is open is
    # not closed under nginx, which may be writing to it; it ends with the next answer.
    loop.remove_reader(log_socket.fileno())
    server.close()
    gateway.hand_on = sender(log_socket)
    gateway.is_leaving = True
    end = loop.time() + LEAVE_S
    while gateway.connections and loop.time() < end:
        await asyncio.sleep(0.2)
    looks.cancel()


def gateway_command(arguments: argparse.Namespace) -> int:
    """Run the gateway in a process of its own, which outlives this one until its last answer has ended.

    systemd ends only this one when it restarts the service, so that no stream is cut by an update of the gateway.
    """
    settings = read_settings(arguments.config)
    listening = sockets(arguments)
    lifeline, held = os.pipe()
    child = os.fork()
    if not child:
        os.close(held)
        asyncio.run(serve(settings, listening, lifeline))
        return 0

    def leave(*_signal: object) -> None:
        # Our end of the pipe closes with us, as it does if we are killed: that tells the child.
        os._exit(0)

    def hangs(*_signal: object) -> None:
        # The child has not said for half a minute that it lives: it would never read that we are gone.
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    signal.signal(signal.SIGABRT, hangs)
    os.close(lifeline)
    for made in listening:
        made.close()
    _pid, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl gateway)."""
    command = commands.add_parser(
        "gateway",
        description="Checks keys and limits, chooses tier and model, says why a tier is away, counts what was served.",
    )
    command.add_argument("--config", default=DEFAULT_PATH, help="what was installed (default: %(default)s)")
    command.add_argument("--socket", default="", help="where nginx asks, if systemd does not hold a socket for it")
    command.add_argument("--log-socket", default="", help="where nginx sends its log, likewise")
    command.set_defaults(run=gateway_command)
