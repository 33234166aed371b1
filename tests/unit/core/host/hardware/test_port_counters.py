# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State and counters of the fabric, from trees of sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common.sysfs import Sysfs
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import port_counters

PORT = "class/infiniband/mlx5_0/ports/1"
TREE = {
    "class/net/ib0/type": "32",
    "class/net/ib0/ifindex": "5",
    "class/net/ib0/iflink": "5",
    "class/net/ib0/dev_port": "0",
    "class/net/ib0/operstate": "up",
    "class/net/ib0/statistics/rx_bytes": "1000",
    "class/net/ib0/statistics/tx_bytes": "2000",
    "class/net/ib0/statistics/rx_dropped": "3",
    "class/net/ib0/device/infiniband/mlx5_0/node_type": "1: CA",
    f"{PORT}/state": "4: ACTIVE",
    f"{PORT}/rate": "100 Gb/sec (4X EDR)",
    f"{PORT}/counters/port_rcv_data": "25",
    f"{PORT}/counters/port_xmit_data": "50",
    f"{PORT}/counters/symbol_error": "7",
    f"{PORT}/counters/VL15_dropped": "0",
}


def read(root: Path, **changed: str) -> port_counters.FabricInterface | None:
    for path, text in {**TREE, **changed}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n", encoding="ascii")
    return port_counters.read("ib0", Sysfs(root))


def test_port_has_state_rate_bytes_and_errors(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found is not None
    assert found.traffic is not None
    assert (found.is_up, found.traffic.received_bytes, found.traffic.sent_bytes) == (True, 1000, 2000)
    assert found.errors == {"rx_dropped": 3}
    (port,) = found.ports
    assert port.traffic is not None
    assert (port.device, port.number, port.is_up, port.rate) == ("mlx5_0", 1, True, 12.5e9)
    assert (port.traffic.received_bytes, port.traffic.sent_bytes) == (100, 200)
    assert port.errors == {"symbol_error": 7, "VL15_dropped": 0}


def test_port_that_initialises_is_not_up(tmp_path: Path) -> None:
    found = read(tmp_path, **{f"{PORT}/state": "2: INIT", "class/net/ib0/operstate": "down"})
    assert found is not None
    assert (found.is_up, found.ports[0].is_up) == (False, False)


@pytest.mark.parametrize("text", ["", "-1", "ten", "9" * 40])
def test_unreadable_values_are_unknown(tmp_path: Path, text: str) -> None:
    names = ("state", "rate", "counters/port_rcv_data", "counters/symbol_error", "counters/VL15_dropped")
    found = read(tmp_path, **{f"{PORT}/{name}": text for name in names}, **{"class/net/ib0/operstate": text})
    assert found is not None
    (port,) = found.ports
    assert (found.is_up, port.is_up, port.rate, port.traffic, port.errors) == (None, None, None, None, {})


@pytest.mark.parametrize("name", ["", "ib7"])
def test_missing_interface_is_unknown(tmp_path: Path, name: str) -> None:
    read(tmp_path)
    assert port_counters.read(name, Sysfs(tmp_path)) is None
