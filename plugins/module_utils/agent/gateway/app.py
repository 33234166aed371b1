# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl gateway): take the socket, and start the service.

The service needs libraries of an environment of its own, so it is only imported once the socket is open.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...core.errors import InvalidInputError

DEFAULT_PATH = "/etc/herd/gateway.json"
FIRST_FD = 3
#: Seconds within which an instance that serves accepts a connection.
WAITING_S = 2.0


def _inherited_sockets() -> list[socket.socket]:
    """Take the sockets that systemd holds, so that nothing is lost while the gateway restarts."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=number) for number in range(FIRST_FD, FIRST_FD + count)]


def _own_socket(path: str) -> socket.socket:
    """Make a socket where systemd holds none."""
    Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(path)
    made.listen(1024)
    return made


def _one_socket(found: list[socket.socket]) -> socket.socket:
    """Return the socket for requests."""
    if [each.type for each in found] != [socket.SOCK_STREAM]:
        raise InvalidInputError(
            "one stream socket", f"{len(found)} sockets", "start herd-gateway.socket, or give the path with --socket"
        )
    return found[0]


def _has_waiting(listening: socket.socket) -> bool:
    """Return whether connections wait that no other instance accepts."""
    until = time.monotonic() + WAITING_S
    while select.select([listening], [], [], 0)[0]:
        if time.monotonic() > until:
            return True
        time.sleep(0.05)
    return False


@contextmanager
def _pending_refused(listening: list[socket.socket]) -> Iterator[None]:
    """If the block fails and no other instance serves, close the connections that wait: nginx then reports it."""
    try:
        yield
    except Exception:
        for each in filter(_has_waiting, listening):
            with suppress(OSError):
                while True:
                    each.accept()[0].close()
        raise


def gateway_command(arguments: argparse.Namespace) -> int:
    """Run the gateway."""
    found = _inherited_sockets() or ([_own_socket(arguments.socket)] if arguments.socket else [])
    for each in found:
        each.setblocking(False)
    with _pending_refused(found):
        service = importlib.import_module(f"{__package__}.service")
        service.check_libraries()
        service.run(arguments.config, _one_socket(found))
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl gateway)."""
    command = commands.add_parser(
        "gateway",
        description="Checks keys and limits, chooses tier and model, proxies requests to engines, counts tokens.",
    )
    command.add_argument("--config", default=DEFAULT_PATH, help="configuration file (default: %(default)s)")
    command.add_argument("--socket", default="", help="path of the socket for requests, without systemd")
    command.set_defaults(run=gateway_command)
