# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state and the counters of an interface and of the adapters' ports below it, from sysfs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import traffic
from .interfaces import Sysfs, stack

#: Errors of a port: counters of C(/sys/class/infiniband/*/ports/*/counters).
PORT_ERRORS = (
    "symbol_error", "link_error_recovery", "link_downed", "port_rcv_errors", "port_rcv_remote_physical_errors",
    "port_rcv_switch_relay_errors", "port_xmit_discards", "port_xmit_constraint_errors", "port_rcv_constraint_errors",
    "local_link_integrity_errors", "excessive_buffer_overrun_errors", "VL15_dropped",
)  # fmt: skip
#: Errors of an interface: counters of C(/sys/class/net/*/statistics).
INTERFACE_ERRORS = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
#: Most ports below one interface that are read.
MOST_PORTS = 16
_ACTIVE = 4
_STATE = re.compile(r"([0-9]{1,2}):")
_RATE = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?) Gb/sec")


@dataclass(frozen=True)
class FabricPort:
    """A port of an adapter. None is unknown.

    :ivar is_up: whether its logical state is ACTIVE.
    :ivar rate: bytes per second of its link.
    :ivar traffic: None where a counter is missing, or stopped at its largest value.
    """

    device: str
    number: int
    is_up: bool | None
    rate: float | None
    traffic: traffic.Traffic | None
    errors: Mapping[str, int]


@dataclass(frozen=True)
class FabricInterface:
    """An interface and the ports below it."""

    name: str
    is_up: bool | None
    traffic: traffic.Traffic | None
    errors: Mapping[str, int]
    ports: tuple[FabricPort, ...]


def _counts(folder: str, names: Iterable[str], sysfs: Sysfs) -> dict[str, int]:
    found = ((name, traffic.count(sysfs.read(f"{folder}/{name}"))) for name in names)
    return {name: value for name, value in found if value is not None}


def _port(device: str, number: int, sysfs: Sysfs) -> FabricPort:
    folder = f"class/infiniband/{device}/ports/{number}"
    state, rate = _STATE.match(sysfs.read(f"{folder}/state")), _RATE.match(sysfs.read(f"{folder}/rate"))
    return FabricPort(
        device,
        number,
        None if state is None else int(state[1]) == _ACTIVE,
        None if rate is None else float(rate[1]) * 1e9 / 8,
        traffic.of_port(device, number, sysfs),
        _counts(f"{folder}/counters", PORT_ERRORS, sysfs),
    )


def read(name: str, sysfs: Sysfs) -> FabricInterface | None:
    """Read an interface and its ports; None without the interface."""
    folder = f"class/net/{name}"
    if not name or not sysfs.names(folder):
        return None
    state = sysfs.read(f"{folder}/operstate")
    # Interfaces without a carrier of their own, such as a tunnel's, have the state "unknown".
    is_up = {"up": True, "down": False, "lowerlayerdown": False, "dormant": False}.get(state)
    ports = [port for port in stack(name, sysfs).ports if port.adapter][:MOST_PORTS]
    return FabricInterface(
        name,
        is_up,
        traffic.of_statistics(name, sysfs),
        _counts(f"{folder}/statistics", INTERFACE_ERRORS, sysfs),
        tuple(_port(port.adapter, port.number, sysfs) for port in ports),
    )
