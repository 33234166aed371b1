# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of the workers' ports on a node: opens one to one head for as long as its worker lives.

A worker's protocol has no authentication, and which node has the head is known when a job runs. A job may not change a
firewall; this service may, and only so far: it puts pairs of an address of the cluster and a port of the workers into
one set of nftables, for the one user that jobs run as. What a job forgets the kernel forgets a minute later.

Without its table every worker would be open to the whole fabric, and whoever loads another set of rules takes it away
without a word (nftables.service when it is restarted, C(nft flush ruleset)). So the guard looks again and again whether
its rules are there as it loaded them, and puts them back, with everything that is open.
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

from ...core.errors import InvalidInputError, RemoteFailureError
from ..common import command
from ..common.log import log
from ..common.systemd_notify import notify

DEFAULT_PATH = "/etc/herd/job-guard.json"
TABLE_PATH = "/etc/herd/job-guard.nft"
TABLE, SET = "herd_jobs", "open"
# How long an opening outlives whoever asked for it, and how often it is renewed.
LIFE_S, RENEW_S = 60, 20.0
# Between two looks whether the rules are there: for so long at most a worker is open to all when somebody removes them.
LOOK_S = 1.0
LONGEST = 4096
ASK_S = 10.0
MOST = 64


@dataclass(frozen=True)
class Rules:
    """What may be opened: ports of the workers to addresses of nodes, for one user.

    :param table: the file with the table of nftables that closes all of them.
    """

    socket: str
    user_id: int
    first: int
    last: int
    addresses: frozenset[str]
    table: str = TABLE_PATH

    def refusal(self, port: Any, address: Any) -> str:
        """Why not; nothing if it may."""
        if not isinstance(port, int) or not self.first <= port <= self.last:
            return f"refused: port {port!r} is not one of the workers' ({self.first} to {self.last})"
        if address not in self.addresses:
            return f"refused: {address!r} is not an address of a node that may have a head"
        return ""


def read_rules(path: str) -> Rules:
    """Read what may be opened."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return Rules(
            str(data["socket"]),
            int(data["user_id"]),
            int(data["first"]),
            int(data["last"]),
            frozenset(map(str, data["addresses"])),
            str(data.get("table", TABLE_PATH)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"the guard's rules at {path}", str(error), "run playbooks/slurm.yml --tags tiers, which writes them"
        ) from error


def nft(*commands: str) -> str:
    """Change the set, in one step; what went wrong."""
    status, text = command.run(["nft", "; ".join(commands)])
    return text.strip() if status else ""


def _element(verb: str, pair: tuple[str, int]) -> str:
    life = f" timeout {LIFE_S}s" if verb == "add" else ""
    return f"{verb} element inet {TABLE} {SET} {{ {pair[0]} . {pair[1]}{life} }}"


def rules_now() -> tuple[str, str]:
    """What closes the ports at this moment, and what went wrong where there is nothing."""
    # By numbers: a name that cannot be looked up for a moment is no change. And without what is open, which changes.
    status, text = command.run(["nft", "--stateless", "--terse", "--numeric", f"list table inet {TABLE}"])
    return ("", text.strip() or f"nft ended with {status}") if status else (text, "")


class Openings:
    """What is open, and how many asked for it. An element's time cannot be changed: it is put in anew."""

    def __init__(self, table: str) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], int] = {}
        self._table, self._wanted, self._said = table, "", ""

    def begin(self) -> None:
        """Close everything, and remember how that looks."""
        problem = self._load()
        if problem:
            raise RemoteFailureError(f"nft to load {self._table}", problem, "see nft -f on this node")

    def _load(self) -> str:
        status, text = command.run(["nft", "-f", self._table])
        if status:
            return text.strip() or f"nft ended with {status}"
        self._wanted, problem = rules_now()
        return problem

    def look(self) -> None:
        """See that the rules are there, and put them back where they are not."""
        with self._lock:
            found, problem = rules_now()
            if found == self._wanted:
                self._complain("")
            else:
                self._restore(problem or "they were changed")

    def _complain(self, problem: str) -> None:
        """Say what goes on being wrong once."""
        if problem and problem != self._said:
            log(problem)
        self._said = problem

    def _restore(self, why: str) -> None:
        problem = self._load()
        if problem:
            self._complain(
                f"the workers' ports are OPEN TO ALL, for the rules are gone and cannot be put back: {problem}"
            )
            return
        failed = [f"{pair[0]} at port {pair[1]}: {text}" for pair in self._held for text in [self._put(pair)] if text]
        log(
            f"somebody took the rules away that close the workers' ports ({' '.join(why.split())[:200]}): they are "
            f"back, with {len(self._held)} that are open" + "".join(f"; {text}" for text in failed)
        )
        self._said = ""

    def add(self, pair: tuple[str, int]) -> str:
        """Open; what went wrong."""
        with self._lock:
            problem = self._sure(pair)
            if not problem:
                self._held[pair] = self._held.get(pair, 0) + 1
            return problem

    def renew(self, pair: tuple[str, int]) -> None:
        """Keep it open."""
        with self._lock:
            problem = self._sure(pair)
        if problem:
            log(f"{pair[0]} at port {pair[1]}: {problem}")

    def drop(self, pair: tuple[str, int]) -> None:
        """Close, if nobody else needs it."""
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
        # Only what is there can be taken out, and in between nobody may find it closed.
        return nft(_element("add", pair), _element("delete", pair), _element("add", pair))


def watch(openings: Openings) -> None:
    """See to the rules for ever."""
    while True:
        time.sleep(LOOK_S)
        openings.look()


def _peer(connection: socket.socket) -> int:
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])


def serve(connection: socket.socket, rules: Rules, openings: Openings) -> None:
    """One worker: open its port, and close it when the connection ends."""
    with connection:
        connection.settimeout(ASK_S)
        try:
            if _peer(connection) not in (rules.user_id, 0):
                connection.sendall(b"refused: another user's process\n")
                return
            asked = json.loads(connection.makefile("r", encoding="utf-8").readline(LONGEST))
            port, address = asked["port"], asked["address"]
            problem = rules.refusal(port, address) or openings.add((address, port))
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
                    openings.renew(pair)
        except OSError:
            pass
        finally:
            openings.drop(pair)
            log(f"port {port} is closed to {address}")


def guard_command(arguments: argparse.Namespace) -> int:
    """Serve until systemd ends it."""
    rules = read_rules(arguments.config)
    openings, path = Openings(rules.table), Path(rules.socket)
    openings.begin()
    threading.Thread(target=watch, args=(openings,), daemon=True).start()
    with suppress(FileNotFoundError):
        path.unlink()
    room = threading.BoundedSemaphore(MOST)

    def one(connection: socket.socket) -> None:
        with room:
            serve(connection, rules, openings)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        notify("READY=1")
        while True:
            connection, _address = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()
