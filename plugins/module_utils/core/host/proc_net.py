# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the kernel's TCP tables, C(/proc/net/tcp) and C(/proc/net/tcp6).

Unlike a connection, this does not use a worker's only client slot.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ..errors import InvalidInputError

#: The states that a rule asks for. A socket in another one keeps the kernel's code of it.
STATES = {"01": "ESTABLISHED", "03": "SYN_RECV", "08": "CLOSE_WAIT", "0A": "LISTEN"}


@dataclass(frozen=True)
class TcpSocket:
    """One line of the table.

    :param is_unacked: whether the peer has not acknowledged a retransmission or a zero window probe.
    """

    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: str
    uid: int
    inode: int
    is_unacked: bool = False


def _address(text: str) -> tuple[str, int]:
    raw, port = text.split(":")
    # Each 32-bit word is printed as the host's integer, so its bytes are reversed on x86 and ARM.
    words = [bytes.fromhex(raw[start : start + 8])[::-1] for start in range(0, len(raw), 8)]
    address = ipaddress.ip_address(b"".join(words))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address), int(port, 16)


def _hex(text: str) -> int:
    return int(text.partition(":")[0], 16)


def parse(text: str) -> list[TcpSocket]:
    """Read one of the tables, without its heading and empty lines."""
    found: list[TcpSocket] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or not fields[0].endswith(":"):
            continue
        found.append(
            TcpSocket(
                *_address(fields[1]),
                *_address(fields[2]),
                state=STATES.get(fields[3].upper(), fields[3]),
                uid=int(fields[7]),
                inode=int(fields[9]),
                # Unacknowledged bytes; retransmissions; unanswered zero window probes.
                is_unacked=_hex(fields[4]) > 0 and (_hex(fields[6]) > 0 or int(fields[8]) > 0),
            )
        )
    return found


def established_from(sockets: Iterable[TcpSocket], port: int) -> list[TcpSocket]:
    """Return the established connections of clients to a local port."""
    return [s for s in sockets if s.state == "ESTABLISHED" and s.local_port == port]


def established_to(sockets: Iterable[TcpSocket], address: str, port: int) -> list[TcpSocket]:
    """Return the established connections of this host to a remote endpoint."""
    return [s for s in sockets if s.state == "ESTABLISHED" and s.remote_address == address and s.remote_port == port]


def listening_on(sockets: Iterable[TcpSocket], port: int) -> list[TcpSocket]:
    """Return the listeners on a port, on any address."""
    return [s for s in sockets if s.state == "LISTEN" and s.local_port == port]


def other_listeners(
    tables: str,
    port: int,
    unit: str,
    owner_of: Callable[[int], tuple[int, str]],
    control_group_of: Callable[[int], str],
) -> list[tuple[TcpSocket, int, str]]:
    """List the listeners on a port that do not belong to a unit, each with its process id and name.

    :param owner_of: gives id and name of the process that holds a socket's inode; id 0 where it is unknown.
    """
    found = []
    for listener in listening_on(parse(tables), port):
        pid, name = owner_of(listener.inode)
        if not pid or f"/{unit}" not in control_group_of(pid):
            found.append((listener, pid, name))
    return found


def require_port_free(
    tables: str,
    port: int,
    unit: str,
    owner_of: Callable[[int], tuple[int, str]],
    control_group_of: Callable[[int], str],
) -> None:
    """Stop if another process than the unit's listens on a port: the kernel would split connections between both."""
    for listener, pid, name in other_listeners(tables, port, unit, owner_of, control_group_of):
        raise InvalidInputError(
            f"port {port} to be free for {unit}",
            f"{name or 'an unknown process'} (process {pid}) on {listener.local_address}:{port}",
            f"stop that process, or choose another port in the inventory; systemctl status {pid} names its unit",
        )


def clients_of(sockets: Iterable[TcpSocket], port: int, own: str, users: Collection[int] = (0,)) -> list[TcpSocket]:
    """Return the connections to a local port whose clients may still expect an answer.

    Excludes connections from the address C(own), and those of C(users) on this host, whose side of a connection is in
    the same table.
    """
    known = list(sockets)
    ours = {(s.local_address, s.local_port, s.remote_address, s.remote_port) for s in known if s.uid in users}
    return [
        s
        for s in known
        if s.local_port == port
        and s.state in ("ESTABLISHED", "SYN_RECV", "CLOSE_WAIT")
        and s.remote_address != own
        and (s.remote_address, s.remote_port, s.local_address, s.local_port) not in ours
    ]
