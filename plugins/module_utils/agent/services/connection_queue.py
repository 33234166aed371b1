# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A queue in front of the head: its clients' new connections wait here while the head restarts, or are turned away.

The unit herd-queue.service leads new connections here (nftables, the first packet only), so what runs at the head
goes on there to its end. When the unit is stopped, they are led to the head again, and what waits here is handed on,
byte by byte: with or without TLS. Nothing is ever read or kept of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from ...core.host import proc_net
from ..common import command, engine_api
from ..common.output import write_line
from ..supervisor import local_state
from ..supervisor.settings import OperatorFlags
from .file_share import ready

#: Connections to the head from this address of the loopback network are the queue's own, and are not led back to it.
OWN_ADDRESS = "127.0.0.2"
PIECE = 65536
# Nobody has shown a key here, so nobody gets much memory: so many connections, and so many bytes of each, in the kernel
# and here. A question that is longer waits in its client; the unit has a limit on all of it (MemoryMax).
MOST, LIMIT, RECEIVE = 1024, 16384, 65536
# A first packet that was led here just before the end must still find somebody.
LINGER_S = 1.0
# A head that was restarted has answered before the queue is ended; this is for one that ends in between.
CONNECT_S, PAUSE_S = 30.0, 0.5
QUIET_LOOKS, LOOK_S = 3, 0.1
# An idle engine has ended by then.
END_S = 5.0
NFT, KEPT, CUT = "/usr/sbin/nft", "ip herd_queue kept", "ip herd_queue cut"
FORGET = f"flush chain {KEPT}; flush set {CUT}"
# Longer than an idle engine takes to end; whoever is killed in between leaves a rule that matches nothing any more.
CUT_S = 30
#: Long enough for whoever tries again to find a head that was restarted, short enough to notice.
RETRY_AFTER_S = 30
TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Retry-After: %d\r\nContent-Length: %d\r\n\r\n%s"
)
TURNED_AWAY_BODY = b'{"error": {"code": 503, "message": "the service is being drained", "type": "unavailable_error"}}'


class _Reader(asyncio.StreamReader):
    """What a client sends; it can be waited for its end without reading."""

    def __init__(self) -> None:
        super().__init__(limit=LIMIT)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        """Note that nothing more comes."""
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        """Note that the connection is broken."""
        super().set_exception(exc)
        self.ended.set()


class Queue:
    """Connections that wait; what became of them is told at the end."""

    def __init__(self, address: str, port: int, is_closed: bool, most: int = MOST) -> None:
        self.address, self.port, self.is_closed, self.most = address, port, is_closed, most
        self.open = asyncio.Event()
        self.running: set[asyncio.Task[None]] = set()
        self.came = self.lost = self.too_many = self.left = 0
        self.longest = 0.0

    def protocol(self) -> asyncio.StreamReaderProtocol:
        """What the loop makes for each connection."""
        reader = _Reader()
        return asyncio.StreamReaderProtocol(reader, lambda _reader, writer: self.client(reader, writer))

    async def client(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        if len(self.running) >= self.most:
            self.too_many += 1
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is not None:
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        self.came += 1
        began = time.monotonic()
        try:
            if self.is_closed:
                await self._turn_away(reader, writer)
                return
            if not await self._wait(reader):
                self.left += 1
                return
            self.longest = max(self.longest, time.monotonic() - began)
            head_reader, head_writer = await self._connect()
            try:
                await asyncio.gather(_copy(reader, head_writer), _copy(head_reader, writer))
            finally:
                head_writer.close()
        except OSError as error:
            self.lost += 1
            write_line(f"a connection was lost after {time.monotonic() - began:.1f} seconds: {error!r}")
        finally:
            writer.close()

    async def _wait(self, reader: _Reader) -> bool:
        """Wait until clients are handed on; false where this one has gone, as the engine would see it too."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.open, reader.ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not reader.ended.is_set()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        until = time.monotonic() + CONNECT_S
        while True:
            try:
                return await asyncio.open_connection(self.address, self.port, limit=LIMIT, local_addr=(OWN_ADDRESS, 0))
            except OSError:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _turn_away(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The first byte of a handshake of TLS: who wants that understands no answer in plain words.
        try:
            first = await asyncio.wait_for(reader.read(1), 5.0)
        except asyncio.TimeoutError:
            return
        if first in (b"\x16", b""):
            return
        # An answer before the question would reset the connection, and the client would not see it.
        with suppress(asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5.0)
        writer.write(TURNED_AWAY % (RETRY_AFTER_S, len(TURNED_AWAY_BODY), TURNED_AWAY_BODY))
        await writer.drain()
        writer.write_eof()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drop(reader), 2.0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _drop(reader: asyncio.StreamReader) -> None:
    while await reader.read(PIECE):
        continue


async def serve(arguments: argparse.Namespace) -> Queue:
    """Take connections until told to end; then hand on what waits, and end with the last of it."""
    queue = Queue(arguments.target, arguments.target_port, arguments.turn_away, arguments.most)
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Those that it accepts have it too.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
    listener.bind((arguments.address, arguments.port))
    server = await asyncio.get_running_loop().create_server(queue.protocol, sock=listener, backlog=1024)
    ready()
    await ended.wait()
    queue.open.set()
    await asyncio.sleep(LINGER_S)
    server.close()
    while queue.running:
        await asyncio.wait(set(queue.running))
    return queue


def queue_command(arguments: argparse.Namespace) -> int:
    """Run the queue."""
    queue = asyncio.run(serve(arguments))
    did = "were turned away" if queue.is_closed else f"waited, {queue.longest:.1f} seconds at the longest"
    few = f"{queue.left} left before, {queue.too_many} were too many; " if queue.left or queue.too_many else ""
    write_line(f"{queue.came} connections {did}; {few}{queue.lost} were lost")
    return 0


def _clients(port: int) -> int:
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    text = "".join(path.read_text(encoding="utf-8") for path in tables if path.exists())
    return len(proc_net.clients_of(proc_net.parse(text), port, OWN_ADDRESS))


def _is_working(api: engine_api.Api) -> bool:
    """Say whether a request runs or waits in the engine; one that cannot tell may be working."""
    slots = engine_api.slots(api)
    return slots.known is not True or slots.busy > 0 or engine_api.metrics(api).get("requests_deferred", 0) > 0


def _nft(commands: str) -> str:
    """Let the kernel take all of these commands, or none."""
    status, said = command.run([NFT, commands])
    return said if status == 0 else ""


def _is_between_requests(api: engine_api.Api) -> bool:
    """Say whether nothing runs and nothing comes on connections that clients keep; if so, nothing comes any more.

    Whoever sends in this moment does so again, as with any packet that was lost, and is counted: then it was the wrong
    moment. Packets that only confirm an answer pass.
    """
    if _is_working(api):
        return False
    rule = "iif != lo tcp dport @cut ct state established meta length > 100 counter drop"
    _nft(f"{FORGET}; add element {CUT} {{ {api.port} timeout {CUT_S}s }}; add rule {KEPT} {rule}")
    if not _is_working(api) and " packets 0 " in _nft(f"list chain {KEPT}"):
        return True
    _nft(FORGET)
    return False


def _stop(unit: str, pid: int) -> bool:
    """Stop the head at once: until systemd has begun to, somebody may have sent."""
    flags = OperatorFlags(Path("/run/herd"))
    is_held = flags.get("hold") is not None
    if not is_held:
        # Or the agent would start it again before systemd is told that it was meant.
        flags.set("hold", "herdctl idle", END_S + 10)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        # A second signal, such as systemd's own, would make a failure of its end.
        until = time.monotonic() + END_S
        while time.monotonic() < until:
            os.kill(pid, 0)
            time.sleep(LOOK_S / 5)
    is_stopped = command.run(["systemctl", "stop", unit], 120.0)[0] == 0
    if not is_held:
        flags.clear("hold")
    return is_stopped


def idle_command(arguments: argparse.Namespace) -> int:
    """Wait until no request runs or comes, and stop the head in that moment."""
    began = time.monotonic()
    # Of one that was killed.
    _nft(FORGET)
    pid = local_state.unit(arguments.unit).pid
    api = engine_api.of(local_state.process(pid).arguments)
    left = quiet = 0
    is_idle = api is None
    while api is not None and not is_idle:
        left, passed = _clients(api.port), time.monotonic() - began
        quiet = 0 if left else quiet + 1
        is_idle = quiet >= QUIET_LOOKS or (left > 0 and passed >= arguments.grace and _is_between_requests(api))
        if is_idle or passed >= arguments.timeout:
            break
        time.sleep(LOOK_S)
    is_stopped = bool(is_idle and arguments.stop and api)
    if is_stopped:
        is_idle = is_stopped = _stop(arguments.unit, pid)
    if not is_stopped:
        _nft(FORGET)
    seconds = round(time.monotonic() - began, 1)
    write_line(json.dumps({"idle": is_idle, "stopped": is_stopped, "connections": left, "seconds": seconds}))
    return 0 if is_idle else 1


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl queue-connections) and C(herdctl idle)."""
    queue = commands.add_parser(
        "queue-connections",
        description="Takes connections until it is told to end, and then hands them on. Exit status: 0.",
    )
    queue.add_argument("--address", required=True, help="IPv4 address to listen on")
    queue.add_argument("--port", type=int, required=True)
    queue.add_argument("--target", required=True, help="IPv4 address of the head")
    queue.add_argument("--target-port", type=int, required=True)
    queue.add_argument("--most", type=int, default=MOST, help="connections at once (default: %(default)s)")
    queue.add_argument("--turn-away", action="store_true", help="answer 503 at once instead")
    queue.set_defaults(run=queue_command)
    idle = commands.add_parser(
        "idle",
        description="Waits until no client has a connection, or only keeps one, on which no request runs or comes. "
        "Exit status: 0 idle, 1 requests still run.",
    )
    idle.add_argument("--unit", default="llama-head.service", help="the head's unit (default: %(default)s)")
    idle.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    idle.add_argument("--grace", type=float, default=10.0, metavar="SECONDS", help="for kept connections to close")
    idle.add_argument("--stop", action="store_true", help="stop the head in that moment")
    idle.set_defaults(run=idle_command)
