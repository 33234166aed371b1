# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the bytes of a network interface, with those of RDMA, which the kernel's network stack does not see.

The counters of an InfiniBand port include the packets of its interfaces (IPoIB). Those of an Ethernet port count RDMA
only, beside the packets of the interface.
"""

from __future__ import annotations

from dataclasses import dataclass

from .interfaces import INFINIBAND_TYPE, PortInterface, Sysfs, stack

# port_rcv_data and port_xmit_data count in words of four bytes.
_WORD = 4
# Where a port counts with 32 bits, the counter stops at its largest value.
_STOPPED = (1 << 32) - 1
_LARGEST = 1 << 64


@dataclass(frozen=True)
class Traffic:
    """Bytes since some moment in the past.

    :ivar sources: what was counted: C(mlx5_0/1) for a port of an adapter, C(ib0) for an interface.
    """

    sources: tuple[str, ...]
    received_bytes: int
    sent_bytes: int

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.sources + other.sources,
            self.received_bytes + other.received_bytes,
            self.sent_bytes + other.sent_bytes,
        )


def count(text: str) -> int | None:
    """Read a counter of 64 bits; None for any other text."""
    return int(text) if text.isdecimal() and len(text) <= 20 and int(text) < _LARGEST else None


def of_port(adapter: str, number: int, sysfs: Sysfs) -> Traffic | None:
    """Return the traffic of an adapter's port; None without counters, and where one has stopped."""
    folder = f"class/infiniband/{adapter}/ports/{number}/counters"
    received, sent = (count(sysfs.read(f"{folder}/{name}")) for name in ("port_rcv_data", "port_xmit_data"))
    if not adapter or received is None or sent is None or _STOPPED in (received, sent):
        return None
    return Traffic((f"{adapter}/{number}",), received * _WORD, sent * _WORD)


def of_statistics(name: str, sysfs: Sysfs) -> Traffic | None:
    """Return the traffic of an interface, without RDMA; None if the kernel does not count it."""
    folder = f"class/net/{name}/statistics"
    received, sent = (count(sysfs.read(f"{folder}/{file}")) for file in ("rx_bytes", "tx_bytes"))
    return None if received is None or sent is None else Traffic((name,), received, sent)


def _of_ports(ports: tuple[PortInterface, ...], sysfs: Sysfs) -> list[Traffic | None]:
    return [of_port(port.adapter, port.number, sysfs) for port in ports]


def of_interface(name: str, sysfs: Sysfs) -> Traffic | None:
    """Return the traffic of an interface and of the adapters below it; None if the kernel does not count it."""
    ports = stack(name, sysfs).ports
    found = _of_ports(ports, sysfs)
    counted = [each for each in found if each is not None]
    if ports and len(counted) == len(ports) and all(port.kind == INFINIBAND_TYPE for port in ports):
        total = counted[0]
        for more in counted[1:]:
            total += more
        return total
    statistics = of_statistics(name, sysfs)
    if statistics is None:
        return None
    for port, each in zip(ports, found):
        if each is not None and port.kind != INFINIBAND_TYPE:
            statistics += each
    return statistics
