# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether traffic between two nodes uses the fabric, from the output of ip, sysfs and ibv_devinfo.

Three problems make the service slow and have different remedies: a route through the Ethernet (fallback), a missing
route, and the right route over a broken link.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RemoteFailureError
from . import numa
from .hardware.interfaces import INFINIBAND_TYPE, Stack

#: Bytes of the IP and ICMP headers of a packet.
ECHO_OVERHEAD = 28

_RATE = re.compile(r"([0-9.]+) Gb/sec(?: \((\d+)X ?(\w*)\))?")
_NUMBERED = re.compile(r"\d+: *(\S.*)")
_REFUSALS = {
    "Network is unreachable": "missing",
    "No route to host": "unreachable",
    "Permission denied": "prohibit",
    "Invalid argument": "blackhole",
}


@dataclass(frozen=True)
class Interface:
    """A network interface. Unknown values are None."""

    name: str
    exists: bool = False
    is_up: bool = False
    has_carrier: bool = False
    addresses: tuple[str, ...] = ()
    mtu: int | None = None
    kind: int | None = None
    mode: str = ""
    numa_node: int | None = None
    speed_gbps: float | None = None


@dataclass(frozen=True)
class RdmaPort:
    """A port of a local RDMA device. Rates are in Gb/s, the MTU is in bytes, unknown values are None.

    :param interface: the port's own interface, which may carry a bond, a VLAN or a partition's child.
    """

    device: str
    number: int
    state: str
    physical: str
    link_layer: str
    rate_gbps: float | None
    width: int | None
    generation: str
    mtu: int | None = None
    max_mtu: int | None = None
    interface: str = ""


@dataclass(frozen=True)
class Route:
    """The route to a peer. C(state) is fabric, fallback, missing, refused or local.

    :param refusal: type of the refusing route.
    :param reverse: whether the kernel accepts packets of the peer at the fabric interface, or None.
    :param reaches: whether the peer answered to a full packet, or None.
    """

    peer: str
    state: str
    interface: str = ""
    gateway: str = ""
    source: str = ""
    mtu: int | None = None
    refusal: str = ""
    reverse: bool | None = None
    reaches: bool | None = None


@dataclass(frozen=True)
class FabricSpec:
    """Requirements of the inventory. The MTU is in bytes, the rate in Gb/s. None, 0 and empty are not checked."""

    interface: str
    address: str = ""
    mtu: int | None = None
    hardware_mtu: int | None = None
    rate_gbps: float = 0
    link_layer: str = ""


@dataclass(frozen=True)
class FabricState:
    """The state of this host.

    :param port: the port that carries the traffic.
    :param other_ports: the further ports of a bond.
    :param stack: what stands below the interface.
    """

    interface: Interface
    port: RdmaPort | None = None
    routes: tuple[Route, ...] = ()
    gpu_nodes: Mapping[str, int] = field(default_factory=dict)
    other_ports: tuple[RdmaPort, ...] = ()
    stack: Stack = field(default_factory=Stack)

    @property
    def ports(self) -> tuple[RdmaPort, ...]:
        """Return all ports, that of the traffic first."""
        return () if self.port is None else (self.port, *self.other_ports)


def parse_interface(name: str, listing: str, sysfs: Mapping[str, str]) -> Interface:
    """Read the output of C(ip -json address show), and the interface's files below C(/sys/class/net)."""
    entry = next((link for link in _json_list(listing) if link.get("ifname") == name), None)
    if entry is None:
        return Interface(name)
    flags = entry.get("flags", [])
    addresses = [info["local"] for info in entry.get("addr_info", []) if info.get("family") == "inet"]
    megabits = _integer(sysfs.get("speed"))
    return Interface(
        name,
        exists=True,
        is_up="UP" in flags,
        has_carrier="LOWER_UP" in flags,
        addresses=tuple(addresses),
        mtu=entry.get("mtu"),
        kind=_integer(sysfs.get("type")),
        mode=sysfs.get("mode", ""),
        numa_node=numa.device_node(sysfs.get("numa_node", "")),
        # A driver reports an unknown speed as -1 or 4294967295.
        speed_gbps=megabits / 1000 if megabits is not None and 0 < megabits < 2**31 else None,
    )


def parse_port(device: str, number: int, files: Mapping[str, str], devinfo: str = "", interface: str = "") -> RdmaPort:
    """Read a port's files below C(/sys/class/infiniband), and the output of C(ibv_devinfo) if it is installed."""
    rate = _RATE.match(files.get("rate", ""))
    return RdmaPort(
        device,
        number,
        state=_word(files.get("state")),
        physical=_word(files.get("phys_state")),
        link_layer=files.get("link_layer", ""),
        rate_gbps=float(rate[1]) if rate else None,
        width=int(rate[2]) if rate and rate[2] else None,
        generation=(rate[3] or "") if rate else "",
        mtu=_devinfo_mtu(devinfo, device, number, "active_mtu"),
        max_mtu=_devinfo_mtu(devinfo, device, number, "max_mtu"),
        interface=interface,
    )


def parse_route(peer: str, interface: str, status: int, out: str, err: str) -> Route:
    """Read the result of C(ip -json route get PEER)."""
    if status != 0:
        reason = next((kind for text, kind in _REFUSALS.items() if text in err), None)
        if reason is None:
            said = err.strip() or f"status {status}"
            raise RemoteFailureError(f"ip to know the route to {peer}", said, f"run ip route get {peer} by hand")
        return Route(peer, "missing") if reason == "missing" else Route(peer, "refused", refusal=reason)
    entry = next(iter(_json_list(out)), {})
    metrics = {name: value for metric in entry.get("metrics", []) for name, value in metric.items()}
    device = str(entry.get("dev", ""))
    kind = "fabric" if device == interface else "fallback"
    return Route(
        peer,
        "local" if entry.get("type") == "local" else kind,
        device,
        str(entry.get("gateway", "")),
        str(entry.get("prefsrc", "")),
        _integer(metrics.get("mtu")),
    )


def echo_size(mtu: int | None) -> int:
    """Return the bytes of payload that fill an echo packet."""
    return max(8, (mtu or 576) - ECHO_OVERHEAD)


def problems(wanted: FabricSpec, seen: FabricState) -> list[str]:
    """Return the problems of the fabric, one sentence each. A cause precedes its consequences."""
    found = [*_link(wanted, seen), *_stack(wanted, seen), *_rates(wanted, seen)]
    found += [text for port in seen.ports for text in _port(wanted, port)]
    if seen.interface.exists and wanted.address and wanted.address not in seen.interface.addresses:
        here = ", ".join(seen.interface.addresses) or "no address"
        found.append(
            f"expected {wanted.address} on {wanted.interface}, found {here}: give the interface that address, or "
            f"correct herd_fabric_address."
        )
    found += [text for route in seen.routes for text in _route(wanted, route)]
    return found


def advice(seen: FabricState) -> list[str]:
    """Return advice on performance, one sentence each."""
    near = seen.interface.numa_node
    far = {name: node for name, node in seen.gpu_nodes.items() if near is not None and node != near}
    if not far:
        return []
    listed = ", ".join(f"{name} on {node}" for name, node in sorted(far.items()))
    return [
        f"expected {seen.interface.name} (NUMA node {near}) and the GPUs on one NUMA node, found {listed}: "
        f"every layer's result crosses the processors' link; move the card, or use the GPUs of node {near} (herd_gpus)."
    ]


def _link(wanted: FabricSpec, seen: FabricState) -> Iterator[str]:
    here, name = seen.interface, wanted.interface
    if not here.exists:
        yield (
            f"expected the interface {name}, found none of that name: load ib_ipoib and bring {name} up, or correct "
            f"herd_fabric_interface."
        )
        return
    if not here.is_up:
        yield f"expected {name} to be up, found it down: run ip link set {name} up, and see why it was not at boot."
    elif not here.has_carrier:
        yield (
            f"expected a link on {name}, found no carrier: look at the cable and the switch's port"
            f"{', and at the subnet manager' if here.kind == INFINIBAND_TYPE else ''}."
        )
    if wanted.link_layer == "InfiniBand" and here.kind not in (None, INFINIBAND_TYPE):
        yield (
            f"expected {name} to be an InfiniBand interface, found kind {here.kind} (1 is Ethernet): correct "
            f"herd_fabric_interface."
        )
    if wanted.mtu is not None and here.mtu is not None and here.mtu != wanted.mtu:
        mode = f" in {here.mode} mode" if here.mode else ""
        yield (
            f"expected an MTU of {wanted.mtu} bytes on {name}, found {here.mtu}{mode}: set the interface's MTU "
            f"on every node alike, or herd_fabric_mtu if the network has changed."
        )


def _stack(wanted: FabricSpec, seen: FabricState) -> Iterator[str]:
    """Return what is wrong below the interface: members of a bond, and interfaces without an adapter."""
    for name in seen.stack.down:
        yield (
            f"expected {name} below {wanted.interface} to be up, found it down: run ip link set {name} up, and look at "
            f"its cable and the switch's port."
        )
    if not seen.interface.exists or wanted.link_layer != "InfiniBand":
        return
    if seen.stack.bond and not seen.stack.ports:
        yield (
            f"expected the bond {seen.stack.bond} to have members, found none: add them (ip link set ib0 master "
            f"{seen.stack.bond}), and see why they were not added at boot."
        )
        return
    bare = [port.name for port in seen.stack.ports if not port.adapter]
    if not seen.stack.ports and not seen.ports:
        bare = [wanted.interface]
    for name in bare:
        below = "" if name == wanted.interface else f", below {wanted.interface}"
        yield (
            f"expected an RDMA device behind {name}{below}, found none in /sys/class/infiniband: load the "
            f"card's driver (mlx5_ib), and look at dmesg."
        )


def _rates(wanted: FabricSpec, seen: FabricState) -> Iterator[str]:
    """Return the links that are too slow. The rates of a bond that uses all its members are added."""
    name = wanted.interface
    if not wanted.rate_gbps:
        return
    if not seen.ports or seen.stack.adds_rates:
        known = [port.rate_gbps for port in seen.ports if port.state == "ACTIVE" and port.rate_gbps is not None]
        links: list[tuple[str, float | None, str]] = [(name, sum(known) if known else seen.interface.speed_gbps, "")]
    else:
        links = [
            (_place(name, port), port.rate_gbps, f" ({port.width}X {port.generation})" if port.width else "")
            for port in seen.ports
        ]
    for place, rate, width in links:
        if rate is not None and rate < wanted.rate_gbps:
            yield (
                f"expected a link of {wanted.rate_gbps:g} Gb/s on {place}, found {rate:g}{width}: reseat or change the "
                f"cable, and look at the switch's port; a link that has lost lanes goes on at a lower rate."
            )


def _place(interface: str, port: RdmaPort) -> str:
    """Name the interface of a port, and the one that it carries."""
    return interface if port.interface in ("", interface) else f"{port.interface}, below {interface}"


def _port(wanted: FabricSpec, port: RdmaPort) -> Iterator[str]:
    name = f"{port.device} port {port.number}"
    if port.interface not in ("", wanted.interface):
        name += f" ({_place(wanted.interface, port)})"
    if wanted.link_layer and port.link_layer != wanted.link_layer:
        yield (
            f"expected {name} to be {wanted.link_layer}, found {port.link_layer or 'nothing'}: set the card's link "
            f"type (mlxconfig)."
        )
    if port.state != "ACTIVE":
        remedies = {
            "DOWN": "look at the cable and the switch's port",
            "INIT": "start the subnet manager; the cable is well",
            "ARMED": "look at the subnet manager's log",
        }
        yield (
            f"expected {name} to be ACTIVE, found {port.state or 'no state'} ({port.physical or 'unknown'}): "
            f"{remedies.get(port.state, 'look at ibstat and dmesg')}."
        )
    if wanted.hardware_mtu is not None and port.mtu is not None and port.mtu < wanted.hardware_mtu:
        yield (
            f"expected the hardware's MTU of {name} to be {wanted.hardware_mtu} bytes, found {port.mtu}: set it in the "
            f"subnet manager's partition (mtu=5 is 4096)."
        )


def _route(wanted: FabricSpec, route: Route) -> Iterator[str]:
    name, peer = wanted.interface, route.peer
    if route.state == "missing":
        yield (
            f"expected a route to {peer} by {name}, found none at all: bring {name} up with its address and netmask; "
            f"the kernel adds the route with them."
        )
        return
    if route.state == "refused":
        yield (
            f"expected a route to {peer} by {name}, found a route of the type {route.refusal}: remove it "
            f"(ip route show table all)."
        )
        return
    if route.state == "local":
        yield f"expected {peer} to be another host, found it on this one: correct herd_fabric_address of one of them."
        return
    if route.state == "fallback":
        through = f" through {route.gateway}" if route.gateway else ""
        yield (
            f"expected traffic to {peer} to leave by {name}, found it on {route.interface}{through}, which is slow and "
            f"which nothing reports: bring {name} up, and remove the route (ip route show match {peer})."
        )
        return
    if wanted.address and route.source and route.source != wanted.address:
        yield (
            f"expected traffic to {peer} to come from {wanted.address}, found {route.source}: workers let only that "
            f"address in; remove the other address, or the route that prefers it."
        )
    if route.mtu is not None and wanted.mtu is not None and route.mtu < wanted.mtu:
        yield (
            f"expected packets of {wanted.mtu} bytes to {peer}, found a route that allows {route.mtu}: remove its mtu "
            f"(ip route show match {peer})."
        )
    if route.reverse is False:
        yield (
            f"expected packets of {peer} to be let in at {name}, found that the kernel drops them there: its reverse "
            f"path filter knows another way to {peer}; look at ip rule, and at net.ipv4.conf.{name}.rp_filter."
        )
    if route.reaches is False:
        yield (
            f"expected {peer} to answer to a packet of {wanted.mtu or 'full'} bytes by {name}, found no answer: see "
            f"that the host is on and its {name} up; if small packets pass (ping {peer}), its MTU or the switch's is "
            f"smaller."
        )


def _json_list(text: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(text or "[]")
    except ValueError:
        return []
    # Old versions of ip print an empty object for entries without content.
    return [entry for entry in value if isinstance(entry, dict) and entry] if isinstance(value, list) else []


def _integer(text: Any) -> int | None:
    try:
        return int(str(text).strip())
    except ValueError:
        return None


def _word(text: str | None) -> str:
    match = _NUMBERED.fullmatch((text or "").strip())
    return match[1] if match else (text or "").strip()


def _devinfo_mtu(text: str, device: str, number: int, what: str) -> int | None:
    """Return the MTU of one port from ibv_devinfo's list of all devices."""
    place: tuple[str, int] = ("", 0)
    for line in text.splitlines():
        words: Sequence[str] = line.replace(":", " ", 1).split()
        if len(words) < 2:
            continue
        if words[0] == "hca_id":
            place = (words[1], 0)
        elif words[0] == "port":
            place = (place[0], _integer(words[1]) or 0)
        elif words[0] == what and place == (device, number):
            return _integer(words[1])
    return None
