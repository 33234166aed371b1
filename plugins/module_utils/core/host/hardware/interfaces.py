# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow a network interface to its adapters: through bonds, VLANs and the children of an IPoIB partition.

Only the interface of a port has a folder C(device) in sysfs. A bond lists its members, and a VLAN has links C(lower_*).
A child such as C(ib0.8001) has a file C(parent). A child of C(ip link add ... type ipoib) has neither: its C(iflink) is
the number of its parent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .. import numa

#: Hardware type in /sys/class/net/*/type (ARPHRD_INFINIBAND).
INFINIBAND_TYPE = 32
# Interfaces stand on each other a few times at most. A loop of a damaged sysfs must end too.
_DEEPEST = 8
#: The mode of a bond of which one member carries the traffic.
ACTIVE_BACKUP = "active-backup"


class Sysfs(Protocol):
    """How a layer reads C(/sys)."""

    def read(self, path: str) -> str:
        """Return the content of a file without blanks around it; empty if it cannot be read."""

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a folder; empty without one."""


@dataclass(frozen=True)
class PortInterface:
    """The interface of an adapter's port.

    :ivar adapter: RDMA device, such as C(mlx5_0); empty without one.
    :ivar number: number of the port, from 1.
    :ivar numa_node: None if the machine does not say it.
    """

    name: str
    kind: int | None
    adapter: str
    number: int
    numa_node: int | None


@dataclass(frozen=True)
class Stack:
    """What stands below an interface.

    :ivar ports: the one that carries the traffic of an active-backup bond comes first.
    :ivar down: interfaces below it that are down.
    :ivar bond: name of the bond on the way; empty without one.
    :ivar mode: mode of that bond.
    """

    ports: tuple[PortInterface, ...] = ()
    down: tuple[str, ...] = ()
    bond: str = ""
    mode: str = ""

    @property
    def adds_rates(self) -> bool:
        """Return whether a bond uses all ports at the same time."""
        return bool(self.mode) and self.mode != ACTIVE_BACKUP

    @property
    def numa_nodes(self) -> tuple[int, ...]:
        """Return the known NUMA nodes of the ports, each once, that of the traffic first."""
        return tuple(dict.fromkeys(port.numa_node for port in self.ports if port.numa_node is not None))


def _integer(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _members(name: str, sysfs: Sysfs) -> list[str]:
    """Return the members of a bond, the active one first."""
    folder = f"class/net/{name}/bonding"
    active, members = sysfs.read(f"{folder}/active_slave"), sysfs.read(f"{folder}/slaves").split()
    return sorted(members, key=lambda member: member != active)


def _below(name: str, sysfs: Sysfs) -> list[str]:
    """Return the interfaces on which an interface stands; none for that of a port."""
    folder = f"class/net/{name}"
    if sysfs.read(f"{folder}/bonding/mode"):
        return _members(name, sysfs)
    lower = [entry[len("lower_") :] for entry in sysfs.names(folder) if entry.startswith("lower_")]
    if lower:
        return lower
    if parent := sysfs.read(f"{folder}/parent"):
        return [parent]
    own, link = sysfs.read(f"{folder}/ifindex"), sysfs.read(f"{folder}/iflink")
    # The iflink of other kinds may count in another network namespace, as that of a veth does.
    if _integer(sysfs.read(f"{folder}/type")) != INFINIBAND_TYPE or not link or link == own:
        return []
    return [other for other in sysfs.names("class/net") if sysfs.read(f"class/net/{other}/ifindex") == link]


def _port(name: str, sysfs: Sysfs) -> PortInterface:
    folder = f"class/net/{name}"
    kind = _integer(sysfs.read(f"{folder}/type"))
    adapters = sysfs.names(f"{folder}/device/infiniband")
    number = _integer(sysfs.read(f"{folder}/dev_port")) or 0
    if not number and kind == INFINIBAND_TYPE:
        # Kernels before 4.20 number the ports of IPoIB only here.
        number = _integer(sysfs.read(f"{folder}/dev_id")) or 0
    node = numa.device_node(sysfs.read(f"{folder}/device/numa_node"))
    return PortInterface(name, kind, adapters[0] if adapters else "", number + 1, node)


@dataclass
class _Walk:
    """A walk from an interface down to its ports."""

    sysfs: Sysfs
    ports: dict[str, PortInterface] = field(default_factory=dict)
    down: dict[str, None] = field(default_factory=dict)
    bond: str = ""
    mode: str = ""

    def visit(self, name: str, depth: int = 0) -> None:
        if depth > _DEEPEST or name in self.ports:
            return
        mode = self.sysfs.read(f"class/net/{name}/bonding/mode").split(" ")[0]
        if mode and not self.bond:
            self.bond, self.mode = name, mode
        if depth and self.sysfs.read(f"class/net/{name}/operstate") == "down":
            self.down[name] = None
        below = _below(name, self.sysfs)
        if not below and not mode:
            self.ports[name] = _port(name, self.sysfs)
        for other in below:
            self.visit(other, depth + 1)


def stack(name: str, sysfs: Sysfs) -> Stack:
    """Follow an interface to the ports that carry its traffic; without the interface, there are none."""
    if not name or not sysfs.names(f"class/net/{name}"):
        return Stack()
    walk = _Walk(sysfs)
    walk.visit(name)
    return Stack(tuple(walk.ports.values()), tuple(walk.down), walk.bond, walk.mode)
