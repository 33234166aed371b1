# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port guard of a node: opens the ports of a job's processes to the other processes of the same job.

A worker's protocol has no authentication, and the head's node is only known when a job runs. A job cannot change the
firewall. This service can, within limits: it adds elements to the sets of one nftables table, for the user that jobs
run as. The kernel removes an element some time after its last renewal.

- A worker's ports are always closed. The guard adds the pair of its head's address and its port to the set C(open).
- The ports of vLLM's ranks are random. The guard closes them to all but the ranks (set C(closed)), and on each node of
  the job to other users, who have the address of a rank there (set C(remote)).

Without the guard's table every worker would be open to the whole fabric. A restart of nftables.service and
C(nft flush ruleset) remove the table silently. So the guard checks its rules every second, and restores them together
with all elements.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInputError, RemoteFailureError
from ...core.vllm.job import port_request
from ..common import command, compute_node
from ..common.config import read_config
from ..common.log import log
from ..common.systemd_notify import notify
from ..supervisor import local_state

SCHEMA = 1
DEFAULT_PATH = compute_node.GUARD
TABLE, OPEN, CLOSED, REMOTE = "herd_jobs", "open", "closed", "remote"
#: Seconds until an open port closes without a renewal, and between two renewals.
LIFE_S, RENEW_S = 60, 20.0
#: Seconds for which a closed port stays closed without a renewal, for example while the guard is not running.
CLOSED_LIFE_S = 600
#: Seconds between two checks of the rules. If they are removed, a worker is open to all for so long at most.
LOOK_S = 1.0
ASK_S = 10.0
MOST = 64
#: Elements of one process. The command line of nft has room for them.
MOST_ELEMENTS = 4096


@dataclass(frozen=True)
class Element:
    """An element of a set of the table.

    :param value: as nft writes it.
    """

    name: str
    value: str
    life_s: int = LIFE_S


@dataclass(frozen=True)
class PortRules:
    """Which workers' ports may be opened to which addresses, for one user.

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


def _changes(verbs: Iterable[str], elements: Iterable[Element]) -> list[str]:
    """Write one transaction that adds and deletes elements, a word for each set: the kernel limits a word's length."""
    sets: dict[str, list[Element]] = {}
    for one in elements:
        sets.setdefault(one.name, []).append(one)
    found = []
    for verb in verbs:
        for name, members in sets.items():
            values = (f"{one.value} timeout {one.life_s}s" if verb == "add" else one.value for one in members)
            found.append(f"{verb} element inet {TABLE} {name} {{ {', '.join(values)} }};")
    return found


def rules_now() -> tuple[str, str]:
    """Read the current rules; if there are none, return the error."""
    # Numeric, so that a failing name lookup is no change. Without the elements of the set, which change.
    return nft("--stateless", "--terse", "--numeric", f"list table inet {TABLE}")


class Elements:
    """The elements of the sets with the number of their holders. A renewal replaces an element."""

    def __init__(self, table: str) -> None:
        self._lock = threading.Lock()
        self._held: dict[Element, int] = {}
        self._table, self._wanted, self._logged = table, "", ""

    def begin(self) -> None:
        """Close all workers' ports, and remember the rules."""
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
        failed = self._put(self._held) if self._held else ""
        ports = sum(1 for one in self._held if one.name == OPEN)
        log(
            f"the rules that close the workers' ports were removed or changed ({' '.join(why.split())[:200]}): "
            f"restored, with {ports} open ports" + (f"; {failed}" if failed else "")
        )
        self._logged = ""

    def replace(self, former: Sequence[Element], wanted: Sequence[Element]) -> str:
        """Add elements, then remove those of the same holder that are not wanted any more. Return the error."""
        with self._lock:
            problem = self._sure(wanted)
            if problem:
                return problem
            for one in wanted:
                self._held[one] = self._held.get(one, 0) + 1
            self._release(former)
            return ""

    def renew(self, elements: Sequence[Element]) -> None:
        """Renew elements."""
        with self._lock:
            problem = self._sure(elements)
        if problem:
            log(f"{len(elements)} elements cannot be renewed: {problem}")

    def drop(self, elements: Sequence[Element]) -> None:
        """Remove elements, unless another holder needs them."""
        with self._lock:
            self._release(elements)

    def _release(self, elements: Sequence[Element]) -> None:
        gone = []
        for one in elements:
            left = self._held.pop(one) - 1
            if left:
                self._held[one] = left
            else:
                gone.append(one)
        if gone:
            # One transaction: only an existing element can be deleted, and the kernel may have removed it.
            nft(*_changes(("add", "delete"), gone))

    def _sure(self, elements: Sequence[Element]) -> str:
        problem = self._put(elements)
        if problem:
            self._restore(problem)
            problem = self._put(elements)
        return problem

    @staticmethod
    def _put(elements: Iterable[Element]) -> str:
        # One transaction: only an existing element can be deleted, and the port must stay open in between.
        return nft(*_changes(("add", "delete", "add"), elements))[1]


def monitor(elements: Elements) -> None:
    """Check the rules forever."""
    while True:
        time.sleep(LOOK_S)
        elements.check()


def _peer(connection: socket.socket) -> int:
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])


class RequestReader:
    """Reads the lines of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._buffer = connection, bytearray()

    def read(self) -> bytes:
        """Return the next line; empty at the end.

        :raises TimeoutError: if none comes in time. What has come stays.
        :raises ValueError: if it is too long.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > port_request.LARGEST:
                raise ValueError("the request is too long")
            piece = self._connection.recv(65536)
            if not piece:
                return b""
            self._buffer += piece
        line, _end, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line


class RefusedRequestError(Exception):
    """A request asks for something that the guard does not do."""


@dataclass(frozen=True)
class Grant:
    """What a request leads to: the elements, the answer, and what the log says."""

    elements: tuple[Element, ...]
    answer: str
    log: str


def _worker_grant(asked: dict[str, Any], rules: PortRules) -> Grant:
    port, address = asked["port"], asked["address"]
    if problem := rules.refusal(port, address):
        raise RefusedRequestError(problem)
    return Grant((Element(OPEN, f"{address} . {port}"),), "open", f"port {port} is open to {address}")


def _ranks_grant(asked: dict[str, Any], rules: PortRules) -> Grant:
    """Close the ports of ranks. A port of this node may only be one of the jobs' user."""
    try:
        request = port_request.parse(asked, rules.addresses)
    except InvalidInputError as error:
        raise RefusedRequestError(f"refused: {error}") from error
    listeners = [one for one in local_state.sockets() if one.state == "LISTEN"]
    others = {one.local_port for one in listeners if one.uid != rules.user_id}
    if taken := sorted(others.intersection(request.own_ports)):
        raise RefusedRequestError(f"refused: a process of another user listens on port {taken[0]}")
    elements = [Element(CLOSED, str(port), CLOSED_LIFE_S) for port in request.own_ports]
    for address, ports in request.ports.items():
        elements += [Element(OPEN, f"{address} . {port}") for port in request.own_ports]
        elements += [Element(REMOTE, f"{address} . {port}", CLOSED_LIFE_S) for port in ports]
    if len(elements) > MOST_ELEMENTS:
        raise RefusedRequestError(f"refused: {len(elements)} pairs of a port and a rank (limit {MOST_ELEMENTS})")
    ranks = ", ".join(request.ports)
    return Grant(
        tuple(elements), "closed", f"{len(request.own_ports)} ports are closed to all but the ranks on {ranks}"
    )


def _grant(line: bytes, rules: PortRules) -> Grant:
    asked = json.loads(line)
    if not isinstance(asked, dict):
        raise ValueError("no request")
    return _ranks_grant(asked, rules) if "ports" in asked else _worker_grant(asked, rules)


def serve(connection: socket.socket, rules: PortRules, elements: Elements) -> None:
    """Serve one process of a job: grant its last request, until the connection ends."""
    held: tuple[Element, ...] = ()
    reader = RequestReader(connection)
    with connection:
        connection.settimeout(ASK_S)
        try:
            if _peer(connection) not in (rules.user_id, 0):
                connection.sendall(b"refused: another user's process\n")
                return
            while True:
                try:
                    line = reader.read()
                except socket.timeout:
                    if not held:
                        return
                    elements.renew(held)
                    continue
                if not line:
                    return
                grant = _grant(line, rules)
                if problem := elements.replace(held, grant.elements):
                    raise RefusedRequestError(problem)
                held = grant.elements
                log(grant.log)
                connection.sendall(f"{grant.answer}\n".encode())
                connection.settimeout(RENEW_S)
        except RefusedRequestError as error:
            with suppress(OSError):
                connection.sendall(f"{' '.join(str(error).split())}\n".encode())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        finally:
            if held:
                elements.drop(held)
                log(f"{len(held)} elements of a job are removed: its process has ended")


def guard_command(arguments: argparse.Namespace) -> int:
    """Run the port guard until systemd stops it."""
    rules = read_rules(arguments.config)
    elements, path = Elements(rules.table), Path(rules.socket)
    elements.begin()
    threading.Thread(target=monitor, args=(elements,), daemon=True).start()
    with suppress(FileNotFoundError):
        path.unlink()
    room = threading.BoundedSemaphore(MOST)

    def one(connection: socket.socket) -> None:
        with room:
            serve(connection, rules, elements)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        notify("READY=1")
        while True:
            connection, _address = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()
