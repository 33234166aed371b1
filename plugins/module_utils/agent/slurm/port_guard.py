# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port guard of a node: opens a worker's port to its job's head while the worker lives.

A worker's protocol has no authentication, and the head's node is only known when a job runs. A job cannot change the
firewall. This service can, within limits: it adds pairs of a cluster address and a worker's port to one nftables set,
for the user that jobs run as. The kernel removes a pair a minute after its last renewal.

Without the guard's table every worker would be open to the whole fabric. A restart of nftables.service and
C(nft flush ruleset) remove the table silently. So the guard checks its rules every second, and restores them together
with all open ports.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import RemoteFailureError
from ..common import command
from ..common.config import read_config
from ..common.log import log
from ..common.systemd_notify import notify

SCHEMA = 1
DEFAULT_PATH = "/etc/herd/job-guard.json"
TABLE, SET = "herd_jobs", "open"
#: Seconds until an open port closes without a renewal, and between two renewals.
LIFE_S, RENEW_S = 60, 20.0
#: Seconds between two checks of the rules. If they are removed, a worker is open to all for so long at most.
LOOK_S = 1.0
LONGEST = 4096
ASK_S = 10.0
MOST = 64


@dataclass(frozen=True)
class PortRules:
    """Which ports may be opened to which addresses, for one user.

    :param table: file with the nftables table that closes all workers' ports.
    """

    socket: str
    user_id: int
    first: int
    last: int
    addresses: frozenset[str]
    table: str

    def refusal(self, port: Any, address: Any) -> str:
        """Say why a port may not be opened to an address; empty if it may."""
        if not isinstance(port, int) or not self.first <= port <= self.last:
            return f"refused: port {port!r} is not one of the workers' ({self.first} to {self.last})"
        if address not in self.addresses:
            return f"refused: {address!r} is not an address of a node that may have a head"
        return ""


def _parse(data: Any) -> PortRules:
    return PortRules(
        str(data["socket"]),
        int(data["user_id"]),
        int(data["first"]),
        int(data["last"]),
        frozenset(map(str, data["addresses"])),
        str(data["table"]),
    )


def read_rules(path: str) -> PortRules:
    """Read the port guard's configuration."""
    return read_config(path, SCHEMA, _parse, "the port guard's configuration", "slurm_tiers")


def nft(*words: str) -> tuple[str, str]:
    """Run nft, and return its output and the error."""
    status, text = command.run(["nft", *words])
    return ("", text.strip() or f"nft ended with {status}") if status else (text, "")


def _element(verb: str, pair: tuple[str, int]) -> str:
    life = f" timeout {LIFE_S}s" if verb == "add" else ""
    return f"{verb} element inet {TABLE} {SET} {{ {pair[0]} . {pair[1]}{life} }}"


def rules_now() -> tuple[str, str]:
    """Read the current rules; if there are none, return the error."""
    # Numeric, so that a failing name lookup is no change. Without the elements of the set, which change.
    return nft("--stateless", "--terse", "--numeric", f"list table inet {TABLE}")


class OpenPorts:
    """The open ports with the number of their holders. A renewal replaces the element of the set."""

    def __init__(self, table: str) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], int] = {}
        self._table, self._wanted, self._logged = table, "", ""

    def begin(self) -> None:
        """Close all ports, and remember the rules."""
        problem = self._load()
        if problem:
            raise RemoteFailureError(f"nft to load {self._table}", problem, "see nft -f on this node")

    def _load(self) -> str:
        _output, problem = nft("-f", self._table)
        if not problem:
            self._wanted, problem = rules_now()
        return problem

    def check(self) -> None:
        """Check the rules, and restore them if they have changed."""
        with self._lock:
            found, problem = rules_now()
            if found == self._wanted:
                self._complain("")
            else:
                self._restore(problem or "they were changed")

    def _complain(self, problem: str) -> None:
        """Log a lasting problem once."""
        if problem and problem != self._logged:
            log(problem)
        self._logged = problem

    def _restore(self, why: str) -> None:
        problem = self._load()
        if problem:
            self._complain(
                f"the workers' ports are OPEN TO ALL: the rules are missing and cannot be restored: {problem}"
            )
            return
        failed = [f"{pair[0]} at port {pair[1]}: {text}" for pair in self._held for text in [self._put(pair)] if text]
        log(
            f"the rules that close the workers' ports were removed or changed ({' '.join(why.split())[:200]}): "
            f"restored, with {len(self._held)} open ports" + "".join(f"; {text}" for text in failed)
        )
        self._logged = ""

    def add(self, pair: tuple[str, int]) -> str:
        """Open a port, and return the error."""
        with self._lock:
            problem = self._sure(pair)
            if not problem:
                self._held[pair] = self._held.get(pair, 0) + 1
            return problem

    def renew(self, pair: tuple[str, int]) -> None:
        """Renew an open port."""
        with self._lock:
            problem = self._sure(pair)
        if problem:
            log(f"{pair[0]} at port {pair[1]}: {problem}")

    def drop(self, pair: tuple[str, int]) -> None:
        """Close a port, unless another holder needs it."""
        with self._lock:
            left = self._held.pop(pair) - 1
            if left:
                self._held[pair] = left
            else:
                nft(_element("delete", pair))

    def _sure(self, pair: tuple[str, int]) -> str:
        problem = self._put(pair)
        if problem:
            self._restore(problem)
            problem = self._put(pair)
        return problem

    @staticmethod
    def _put(pair: tuple[str, int]) -> str:
        # One transaction: only an existing element can be deleted, and the port must stay open in between.
        return nft("; ".join(_element(verb, pair) for verb in ("add", "delete", "add")))[1]


def monitor(open_ports: OpenPorts) -> None:
    """Check the rules forever."""
    while True:
        time.sleep(LOOK_S)
        open_ports.check()


def _peer(connection: socket.socket) -> int:
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])


def serve(connection: socket.socket, rules: PortRules, open_ports: OpenPorts) -> None:
    """Serve one worker: open its port, and close it when the connection ends."""
    with connection:
        connection.settimeout(ASK_S)
        try:
            if _peer(connection) not in (rules.user_id, 0):
                connection.sendall(b"refused: another user's process\n")
                return
            asked = json.loads(connection.makefile("r", encoding="utf-8").readline(LONGEST))
            port, address = asked["port"], asked["address"]
            problem = rules.refusal(port, address) or open_ports.add((address, port))
            if problem:
                connection.sendall(f"{problem}\n".encode())
                return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        pair = (str(address), int(port))
        try:
            log(f"port {port} is open to {address}")
            connection.sendall(b"open\n")
            connection.settimeout(RENEW_S)
            while True:
                try:
                    if not connection.recv(64):
                        break
                except socket.timeout:
                    open_ports.renew(pair)
        except OSError:
            pass
        finally:
            open_ports.drop(pair)
            log(f"port {port} is closed to {address}")


def guard_command(arguments: argparse.Namespace) -> int:
    """Run the port guard until systemd stops it."""
    rules = read_rules(arguments.config)
    open_ports, path = OpenPorts(rules.table), Path(rules.socket)
    open_ports.begin()
    threading.Thread(target=monitor, args=(open_ports,), daemon=True).start()
    with suppress(FileNotFoundError):
        path.unlink()
    room = threading.BoundedSemaphore(MOST)

    def one(connection: socket.socket) -> None:
        with room:
            serve(connection, rules, open_ports)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        notify("READY=1")
        while True:
            connection, _address = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()
