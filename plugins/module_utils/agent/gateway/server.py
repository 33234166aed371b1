# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the gateway: C(herdctl gateway), which decides for nginx where every request goes."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from ...core.errors import InvalidInputError
from ..common.log import log
from ..common.systemd_notify import notify
from .app import GatewayApp
from .connection import Connection
from .handover import run_child, sender
from .stalled_upstreams import end_stalled
from .state import DEFAULT_PATH, GatewaySettings, read_settings

WATCHDOG_EVERY_S = 5.0
FIRST_FD = 3
#: Seconds after which a draining process ends responses that still run.
DRAIN_S = 4 * 3600.0


def _inherited_sockets() -> list[socket.socket]:
    """Take the sockets that systemd holds, so that nothing is lost while the gateway restarts."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=number) for number in range(FIRST_FD, FIRST_FD + count)]


def _own_socket(path: str, kind: int) -> socket.socket:
    """Make a socket where systemd holds none."""
    Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(path)
    return made


def _open_sockets(arguments: argparse.Namespace) -> tuple[socket.socket, socket.socket]:
    """Return the socket for requests and the one for log lines."""
    found = _inherited_sockets() or [
        _own_socket(path, kind)
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


async def _serve(settings: GatewaySettings, requests: socket.socket, log_socket: socket.socket, lifeline: int) -> None:
    """Serve until told to stop, then until the last response has ended.

    :param lifeline: a descriptor that becomes readable when the parent process has ended.
    """
    app = GatewayApp(settings)
    app.refresh()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def parent_ended() -> None:
        loop.remove_reader(lifeline)
        stopping.set()

    loop.add_reader(lifeline, parent_ended)
    app.access_log.follow(log_socket)
    # Not create_unix_server: from Python 3.13 on it removes the socket's file at the end, which belongs to systemd.
    server = await loop.create_server(lambda: Connection(app), sock=requests, backlog=1024)
    checks = asyncio.ensure_future(end_stalled(app))
    notify("READY=1")
    log(f"gateway ready for the tiers {', '.join(settings.config.tiers)}")
    # Everything allocated so far stays. Without freeze, each collection would scan it and delay requests.
    gc.collect()
    gc.freeze()
    while not stopping.is_set():
        notify("WATCHDOG=1")
        app.refresh()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), WATCHDOG_EVERY_S)
    # The next process has the same sockets: new connections wait there. Open connections are not closed, since nginx
    # may be writing to them: each ends with its next response.
    loop.remove_reader(log_socket.fileno())
    server.close()
    app.drain(sender(log_socket))
    end = loop.time() + DRAIN_S
    while app.connections and loop.time() < end:
        await asyncio.sleep(0.2)
    checks.cancel()


def gateway_command(arguments: argparse.Namespace) -> int:
    """Run the gateway."""
    settings = read_settings(arguments.config)
    requests, log_socket = _open_sockets(arguments)
    return run_child(
        lambda lifeline: asyncio.run(_serve(settings, requests, log_socket, lifeline)), (requests, log_socket)
    )


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl gateway)."""
    command = commands.add_parser(
        "gateway",
        description="Checks keys and limits, chooses tier and model, says why a tier is unavailable, counts requests.",
    )
    command.add_argument("--config", default=DEFAULT_PATH, help="configuration file (default: %(default)s)")
    command.add_argument("--socket", default="", help="path of the socket for requests, without systemd")
    command.add_argument("--log-socket", default="", help="path of the socket for nginx's log, without systemd")
    command.set_defaults(run=gateway_command)
