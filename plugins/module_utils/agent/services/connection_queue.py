# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ConnectionQueue new connections to the head while it restarts, or reject them with status 503.

The unit herd-queue.service redirects new connections here (nftables, by their first packet), so running requests
complete at the head. When the unit is stopped, new connections go to the head again, and the queued ones are forwarded
byte by byte, with or without TLS. The queue stores none of their contents.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from ...core.host import proc_net
from ...core.release import units
from ..common import command, engine_api
from ..common.output import write_line
from ..common.systemd_notify import notify
from ..supervisor import local_state
from ..supervisor.settings import OperatorFlags
from . import stop_engine

#: The queue connects to the head from this loopback address, so that its connections are not redirected back.
OWN_ADDRESS = "127.0.0.2"
PIECE = 65536
# Clients have not shown a key yet, so memory is limited: the number of connections, and the bytes of each here and in
# the kernel. A longer request waits in its client. MemoryMax of the unit limits the total.
MOST, LIMIT, RECEIVE = 1024, 16384, 65536
# A first packet that was redirected just before the end must still be accepted.
LINGER_S = 1.0
# The restarted head has answered before the queue is stopped; this covers a head that exits in between.
CONNECT_S, PAUSE_S = 30.0, 0.5
QUIET_LOOKS, LOOK_S = 3, 0.1
# An idle engine exits within these seconds.
END_S = 5.0
NFT, KEPT, CUT = "/usr/sbin/nft", "ip herd_queue kept", "ip herd_queue cut"
FORGET = f"flush chain {KEPT}; flush set {CUT}"
# Longer than an idle engine takes to exit. If this command is killed, its rule expires.
CUT_S = 30
#: Retry-After in seconds: long enough for a restart of the head.
RETRY_AFTER_S = 30
REJECTION = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Retry-After: %d\r\nContent-Length: %d\r\n\r\n%s"
)
REJECTION_BODY = b'{"error": {"code": 503, "message": "the service is being drained", "type": "unavailable_error"}}'


class _Reader(asyncio.StreamReader):
    """Read a client's data; its end can be awaited without reading."""

    def __init__(self) -> None:
        super().__init__(limit=LIMIT)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        """Note the end of the data."""
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        """Note that the connection is broken."""
        super().set_exception(exc)
        self.ended.set()


class ConnectionQueue:
    """The queued connections, and counts of what became of them."""

    def __init__(self, address: str, port: int, is_rejecting: bool, most: int = MOST) -> None:
        self.address, self.port, self.is_rejecting, self.most = address, port, is_rejecting, most
        self.open = asyncio.Event()
        self.running: set[asyncio.Task[None]] = set()
        self.came = self.lost = self.too_many = self.left = 0
        self.longest = 0.0

    def protocol(self) -> asyncio.StreamReaderProtocol:
        """Create the protocol of one connection."""
        reader = _Reader()
        return asyncio.StreamReaderProtocol(reader, lambda _reader, writer: self.client(reader, writer))

    async def client(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection until it closes."""
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
            if self.is_rejecting:
                await self._reject(reader, writer)
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
        """Wait until connections are forwarded; return False if the client closed this one."""
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

    async def _reject(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The first byte of a TLS handshake: such a client cannot read a plain answer.
        try:
            first = await asyncio.wait_for(reader.read(1), 5.0)
        except asyncio.TimeoutError:
            return
        if first in (b"\x16", b""):
            return
        # An answer before the end of the request would reset the connection, and the client would not see it.
        with suppress(asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5.0)
        writer.write(REJECTION % (RETRY_AFTER_S, len(REJECTION_BODY), REJECTION_BODY))
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


async def run_queue(arguments: argparse.Namespace) -> ConnectionQueue:
    """Queue connections until SIGTERM, then forward them and return after the last one."""
    queue = ConnectionQueue(arguments.target, arguments.target_port, arguments.reject, arguments.most)
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
    listener.bind((arguments.address, arguments.port))
    server = await asyncio.get_running_loop().create_server(queue.protocol, sock=listener, backlog=1024)
    notify("READY=1", is_repeated=False)
    await ended.wait()
    queue.open.set()
    await asyncio.sleep(LINGER_S)
    server.close()
    while queue.running:
        await asyncio.wait(set(queue.running))
    return queue


def queue_command(arguments: argparse.Namespace) -> int:
    """Run the queue and print its counts."""
    queue = asyncio.run(run_queue(arguments))
    did = "were rejected" if queue.is_rejecting else f"waited, {queue.longest:.1f} seconds at the longest"
    few = f"{queue.left} left before, {queue.too_many} were too many; " if queue.left or queue.too_many else ""
    write_line(f"{queue.came} connections {did}; {few}{queue.lost} were lost")
    return 0


def _clients(port: int) -> int:
    return len(proc_net.clients_of(local_state.sockets(), port, OWN_ADDRESS))


def _nft(commands: str) -> str:
    """Run nftables commands in one transaction and return the output; empty if they failed."""
    status, said = command.run([NFT, commands])
    return said if status == 0 else ""


def _is_between_requests(api: engine_api.Api) -> bool:
    """Return whether no request runs or arrives on the clients' idle connections; if so, block new requests.

    The rule drops and counts packets with data, which clients send again. A counted packet means that a request
    arrives. Acknowledgements pass.
    """
    if not engine_api.is_idle(api, engine_api.slots(api)):
        return False
    rule = "iif != lo tcp dport @cut ct state established meta length > 100 counter drop"
    _nft(f"{FORGET}; add element {CUT} {{ {api.port} timeout {CUT_S}s }}; add rule {KEPT} {rule}")
    if engine_api.is_idle(api, engine_api.slots(api)) and " packets 0 " in _nft(f"list chain {KEPT}"):
        return True
    _nft(FORGET)
    return False


def _stop(unit: str, pid: int) -> bool:
    """Stop the head at once, before a request can arrive."""
    flags = OperatorFlags(Path("/run/herd"))
    is_held = flags.get("hold") is not None
    if not is_held:
        # Otherwise the agent restarts it before systemd is asked to stop it.
        flags.set("hold", "herdctl idle", END_S + 10)
    # Until it exits, a second signal, such as systemd's, would turn its exit into a failure.
    stop_engine.terminate(pid, END_S)
    is_stopped = command.run(["systemctl", "stop", unit], 120.0)[0] == 0
    if not is_held:
        flags.clear("hold")
    return is_stopped


def idle_command(arguments: argparse.Namespace) -> int:
    """Wait until no request runs or arrives, and stop the head at that moment."""
    began = time.monotonic()
    # Remove the rule of a command that was killed.
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
        description="Queue connections until SIGTERM, then forward them to the head. Exit status: 0.",
    )
    queue.add_argument("--address", required=True, help="IPv4 address to listen on")
    queue.add_argument("--port", type=int, required=True)
    queue.add_argument("--target", required=True, help="IPv4 address of the head")
    queue.add_argument("--target-port", type=int, required=True)
    queue.add_argument("--most", type=int, default=MOST, help="connections at once (default: %(default)s)")
    queue.add_argument("--reject", action="store_true", help="reject connections with status 503 instead")
    queue.set_defaults(run=queue_command)
    idle = commands.add_parser(
        "idle",
        description="Wait until no client has a connection, or only idle ones on which no request arrives. "
        "Exit status: 0 idle, 1 requests still run.",
    )
    idle.add_argument("--unit", default=units.HEAD, help="the head's unit (default: %(default)s)")
    idle.add_argument("--timeout", type=float, required=True, metavar="SECONDS")
    idle.add_argument("--grace", type=float, required=True, metavar="SECONDS", help="for idle connections to close")
    idle.add_argument("--stop", action="store_true", help="stop the head at that moment")
    idle.set_defaults(run=idle_command)
