# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's networks: a namespace with a bridge for each network, and a namespace for each host.

The networks are isolated: no 10.x route exists on the machine, and labs with the same addresses cannot
reach each other.
"""

from __future__ import annotations

import json
from pathlib import Path

from .config import NETWORKS, Host, Lab, Network
from .naming import host_namespace, lab_namespace, port_name
from .process import LabError, run

NETNS_DIR = Path("/run/netns")


def bridge_commands(network: Network, existing: set[str]) -> list[str]:
    """Return lines for `ip -batch` in the lab's namespace."""
    bridge = f"br-{network.label}"
    lines = [] if bridge in existing else [f"link add {bridge} type bridge"]
    lines.append(f"link set {bridge} mtu {network.mtu} up")
    if network.gateway is not None:
        lines.append(f"address replace {network.gateway}/{network.subnet.prefixlen} dev {bridge}")
    return lines


def cable_commands(lab: str, host: Host, existing: set[str]) -> list[str]:
    """Return lines for `ip -batch` in the lab's namespace that plug the host's cables into the bridges."""
    lines = []
    for network in NETWORKS:
        if host.address(network) is None:
            continue
        port = port_name(network.label, host.name)
        if port not in existing:
            peer = f"peer name {network.interface} netns {host_namespace(lab, host.name)}"
            lines.append(f"link add {port} mtu {network.mtu} type veth {peer}")
        lines.append(f"link set {port} mtu {network.mtu} master br-{network.label} up")
    return lines


def interface_commands(host: Host) -> list[str]:
    """Return lines for `ip -batch` in the host's namespace."""
    lines = ["link set lo up"]
    for network in NETWORKS:
        address = host.address(network)
        if address is not None:
            lines.append(f"link set {network.interface} mtu {network.mtu} up")
            lines.append(f"address replace {address}/{network.subnet.prefixlen} dev {network.interface}")
    return lines


def dark_commands(host: Host) -> list[str]:
    """Return lines for `ip -batch` in the host's namespace that silence its kernel too."""
    return [f"link set {net.interface} down" for net in NETWORKS if host.address(net) is not None]


def etc_hosts(lab: Lab, host: Host) -> str:
    """Return the host's /etc/hosts: all Ethernet addresses, and those of the fabric with the suffix -ib."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"127.0.1.1 {host.hostname}"]
    for other in lab.hosts:
        if other.hostname != host.hostname:
            lines.append(f"{other.eth} {other.hostname}")
        if other.ib is not None:
            lines.append(f"{other.ib} {other.hostname}-ib")
    return "\n".join(lines) + "\n"


def shape_arguments(device: str, rate: str | None, latency: str | None) -> list[str]:
    """Return the arguments of tc that slow down traffic leaving `device`."""
    root = ["qdisc", "replace", "dev", device, "root"]
    if latency is not None:
        # Only netem can delay packets; tbf's "latency" is a packet's longest time in its queue.
        return [*root, "netem", "delay", latency, *(["rate", rate] if rate else [])]
    if rate is None:
        raise LabError("slow needs --rate, --latency or --off.")
    return [*root, "tbf", "rate", rate, "burst", "64kbit", "latency", "50ms"]


def namespaces() -> set[str]:
    return {path.name for path in NETNS_DIR.iterdir()} if NETNS_DIR.is_dir() else set()


def _links(namespace: str) -> set[str]:
    listed = run(["ip", "-n", namespace, "-json", "link", "show"]).stdout
    return {link["ifname"] for link in json.loads(listed or "[]")}


def _batch(namespace: str, lines: list[str]) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def _usable(namespace: str) -> bool:
    """Return whether a namespace is usable: a killed `ip netns add` leaves a plain file."""
    return run(["ip", "-n", namespace, "link", "show", "lo"], check=False).returncode == 0


def create(lab: Lab) -> None:
    """Make missing parts, correct all others, and plug in cut cables."""
    existing = namespaces()
    ours = lab_namespace(lab.name)
    for namespace in (ours, *(host_namespace(lab.name, host.name) for host in lab.hosts)):
        if namespace in existing and not _usable(namespace):
            run(["ip", "netns", "delete", namespace], check=False)
            existing.discard(namespace)
        if namespace not in existing:
            run(["ip", "netns", "add", namespace])
    links = _links(ours)
    lines = ["link set lo up"]
    for network in NETWORKS:
        lines += bridge_commands(network, links)
    for host in lab.hosts:
        lines += cable_commands(lab.name, host, links)
    _batch(ours, lines)
    for host in lab.hosts:
        _batch(host_namespace(lab.name, host.name), interface_commands(host))


def power(lab: str, host: Host, *, on: bool) -> None:
    """Silence a host without power; otherwise its namespace would still answer and close connections."""
    _batch(host_namespace(lab, host.name), interface_commands(host) if on else dark_commands(host))


def destroy(lab: str, existing: set[str]) -> None:
    ours = lab_namespace(lab)
    for namespace in sorted(existing):
        if namespace == ours or namespace.startswith(f"{ours}."):
            run(["ip", "netns", "delete", namespace])


def processes(namespace: str) -> list[int]:
    done = run(["ip", "netns", "pids", namespace], check=False)
    return [int(word) for word in done.stdout.split()]


def network_of(host: Host, label: str) -> Network:
    for network in NETWORKS:
        if network.label == label and host.address(network) is not None:
            return network
    raise LabError(f"Host {host.name} is not on the network {label!r}.")


def set_cable(lab: str, host: Host, network: Network, *, up: bool) -> None:
    port = port_name(network.label, host.name)
    run(["ip", "-n", lab_namespace(lab), "link", "set", port, "up" if up else "down"])


def cable_is_up(lab: str, host: Host, network: Network) -> bool:
    port = port_name(network.label, host.name)
    shown = run(["ip", "-n", lab_namespace(lab), "-json", "link", "show", port], check=False)
    links = json.loads(shown.stdout or "[]") if shown.returncode == 0 else []
    return bool(links) and "UP" in links[0]["flags"]


def _ends(lab: str, host: Host, network: Network) -> tuple[tuple[str, str], tuple[str, str]]:
    """Yield namespace and device of both ends of a cable; each end shapes its outgoing traffic."""
    return (
        (lab_namespace(lab), port_name(network.label, host.name)),
        (host_namespace(lab, host.name), network.interface),
    )


def slow(lab: str, host: Host, network: Network, rate: str | None, latency: str | None) -> None:
    """Slow down both directions of one cable."""
    for namespace, device in _ends(lab, host, network):
        arguments = shape_arguments(device, rate, latency)
        done = run(["tc", "-n", namespace, *arguments], check=False)
        if done.returncode != 0:
            hint = " A kernel without netem cannot delay; then use --rate alone." if latency else ""
            raise LabError(f"tc refused '{' '.join(arguments)}': {done.stderr.strip()}{hint}")


def full_speed(lab: str, host: Host, network: Network) -> None:
    for namespace, device in _ends(lab, host, network):
        # Fails if the cable is not slowed down, which is the desired state.
        run(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"], check=False)
