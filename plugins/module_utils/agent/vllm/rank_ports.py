# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the ports of vLLM's processes closed to all but the ranks of the job, with the port guard of the node.

vLLM opens its ports while it loads, and most of them are random. So a thread looks which ones listen, and tells the
guard at each change. The ranks learn each other's ports from the heartbeats.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from ...core.errors import InvalidInputError
from ...core.vllm.job import heartbeat_message, port_request
from ..slurm.step import GUARD_TIMEOUT_S
from ..supervisor import local_state
from . import engine_process

#: Seconds between two looks at the listening ports.
LOOK_S = 0.5
PROC = Path("/proc")
_START_GUARD = "start herd-job-guard.service on this node; playbooks/slurm.yml --tags tiers installs it"
_LONGEST_ANSWER = 2048


def listening_ports(root: int) -> set[int]:
    """Return the ports on which the processes below one listen for other hosts."""
    inodes = set()
    for pid in engine_process.below(root, engine_process.all_processes()):
        with suppress(OSError):
            for handle in (PROC / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    target = str(handle.readlink())
                    if target.startswith("socket:["):
                        inodes.add(int(target[8:-1]))
    return {
        one.local_port
        for one in local_state.sockets()
        if one.state == "LISTEN" and one.inode in inodes and not one.local_address.startswith("127.")
    }


class GuardConnection:
    """The connection to the guard, whose last request holds while it is open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._channel: socket.socket | None = None

    def ask(self, request: port_request.RankPortRequest) -> None:
        """Send a request.

        :raises InvalidInputError: if the guard does not answer, or refuses it.
        """
        try:
            answer = self._send(f"{port_request.write(request)}\n".encode())
        except OSError as error:
            self.close()
            raise InvalidInputError(
                f"the guard of the ranks' ports at {self._path}", error.strerror or str(error), _START_GUARD
            ) from error
        if answer != "closed":
            self.close()
            raise InvalidInputError(
                "the guard to close the ranks' ports", answer or "no answer", "see its journal on this node"
            )

    def _send(self, line: bytes) -> str:
        if self._channel is None:
            self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._channel.settimeout(GUARD_TIMEOUT_S)
            self._channel.connect(self._path)
        self._channel.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) < _LONGEST_ANSWER:
            piece = self._channel.recv(_LONGEST_ANSWER)
            if not piece:
                break
            answer += piece
        return answer.decode(errors="replace").strip()

    def is_open(self) -> bool:
        """Return whether the guard still holds the last request."""
        if self._channel is None:
            return False
        # It sends nothing unasked: something to read is its end.
        if not select.select([self._channel], [], [], 0)[0]:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection: the guard removes what it holds."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class RankPorts:
    """The protected ports of one rank.

    :param path: socket of the guard.
    :param own: address of this rank on the fabric.
    :param fixed: ports that are closed before a process listens on them, by the address of their rank.
    :param spared: the port of the API, which others may reach.
    :param peers: returns the ports of the other ranks by their addresses.
    """

    def __init__(
        self,
        path: str,
        own: str,
        fixed: Mapping[str, Collection[int]],
        spared: int,
        peers: Callable[[], Mapping[str, Collection[int]]],
        log: Callable[[str], None],
    ) -> None:
        self._guard, self._own, self._fixed, self._spared = GuardConnection(path), own, dict(fixed), spared
        self._peers, self._log = peers, log
        self._asked: port_request.RankPortRequest | None = None
        self._problem = ""
        #: The ports on which this rank's processes listen, for the heartbeats.
        self.own_ports: tuple[int, ...] = tuple(sorted(self._fixed.get(own, ())))

    def start(self) -> None:
        """Close the fixed ports, then follow the random ones.

        :raises InvalidInputError: if the guard does not do it: vLLM must not start then.
        """
        self._asked = self._request()
        self._guard.ask(self._asked)
        threading.Thread(target=self._follow, daemon=True).start()

    def _request(self) -> port_request.RankPortRequest:
        known: dict[str, Collection[int]] = {**dict.fromkeys(self._fixed, ()), **self._peers()}
        ports = {address: tuple(sorted({*found, *self._fixed.get(address, ())})) for address, found in known.items()}
        return port_request.RankPortRequest(self._own, {**ports, self._own: self.own_ports})

    def look(self) -> None:
        """Look once which ports listen, and tell the guard of a change."""
        found = {*listening_ports(os.getpid()), *self._fixed.get(self._own, ())} - {self._spared}
        self.own_ports = tuple(sorted(found))[: heartbeat_message.MOST_PORTS]
        wanted = self._request()
        if wanted == self._asked and self._guard.is_open():
            return
        try:
            self._guard.ask(wanted)
        except InvalidInputError as error:
            if str(error) != self._problem:
                self._log(f"the ports of the ranks may be open to others: {error}")
            self._problem, self._asked = str(error), None
            return
        self._problem, self._asked = "", wanted

    def _follow(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.look()
