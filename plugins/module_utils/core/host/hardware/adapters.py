# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List a host's InfiniBand adapters and interfaces that are in use."""

from __future__ import annotations

from ..fabric_route import RdmaPort, parse_port
from . import interfaces

_FOLDER = "class/infiniband"
_INFINIBAND = "InfiniBand"
#: Drivers of virtual interfaces report the state "unknown" while they work.
_UP = ("up", "unknown")


def ports(sysfs: interfaces.Sysfs) -> list[RdmaPort]:
    """Return all ports of the RDMA devices, with their state and their link layer."""
    found = []
    for device in sysfs.names(_FOLDER):
        for number in sysfs.names(f"{_FOLDER}/{device}/ports"):
            folder = f"{_FOLDER}/{device}/ports/{number}"
            if number.isdigit():
                files = {name: sysfs.read(f"{folder}/{name}") for name in ("state", "link_layer")}
                found.append(parse_port(device, int(number), files))
    return found


def active_infiniband(sysfs: interfaces.Sysfs) -> tuple[str, ...]:
    """Return the active ports of InfiniBand as NCCL names them, such as C(mlx5_0:1).

    Old kernels do not tell the link layer. A port of Ethernet (RoCE) is not listed.
    """
    return tuple(
        f"{port.device}:{port.number}"
        for port in ports(sysfs)
        if port.state == "ACTIVE" and port.link_layer in (_INFINIBAND, "")
    )


def infiniband_interfaces(sysfs: interfaces.Sysfs) -> list[str]:
    """Return the network interfaces of InfiniBand that are up."""
    folder = "class/net"
    return [
        name
        for name in sysfs.names(folder)
        if sysfs.read(f"{folder}/{name}/type") == str(interfaces.INFINIBAND_TYPE)
        and sysfs.read(f"{folder}/{name}/operstate") in _UP
    ]
