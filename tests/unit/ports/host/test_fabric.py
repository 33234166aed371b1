# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading sysfs: a tree in the shape of a machine with a ConnectX-6 and two GPUs, a double of what no lab has."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import interfaces
from ansible_collections.herd.inference.plugins.module_utils.ports.host import fabric


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    card = tmp_path / "devices/0000:5e:00.0"
    files = {
        card / "numa_node": "0",
        card / "infiniband/mlx5_0/node_type": "1: CA",
        tmp_path / "class/net/ib0/type": "32",
        tmp_path / "class/net/ib0/mode": "datagram",
        tmp_path / "class/net/ib0/dev_port": "0",
        tmp_path / "class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE",
        tmp_path / "class/infiniband/mlx5_0/ports/1/phys_state": "5: LinkUp",
        tmp_path / "class/infiniband/mlx5_0/ports/1/rate": "100 Gb/sec (2X HDR)",
        tmp_path / "class/infiniband/mlx5_0/ports/1/link_layer": "InfiniBand",
        tmp_path / "class/net/eth0/type": "1",
        tmp_path / "bus/pci/devices/0000:3b:00.0/vendor": "0x10de",
        tmp_path / "bus/pci/devices/0000:3b:00.0/class": "0x030200",
        tmp_path / "bus/pci/devices/0000:3b:00.0/numa_node": "1",
        # The GPU's own sound device is none.
        tmp_path / "bus/pci/devices/0000:3b:00.1/vendor": "0x10de",
        tmp_path / "bus/pci/devices/0000:3b:00.1/class": "0x040300",
        tmp_path / "bus/pci/devices/0000:00:02.0/vendor": "0x8086",
        tmp_path / "bus/pci/devices/0000:00:02.0/class": "0x030000",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")
    (tmp_path / "class/net/ib0/device").symlink_to(card)
    return tmp_path


def test_an_interface_is_read(sys: Path) -> None:
    assert fabric.interface_files("ib0", sys) == {"type": "32", "mode": "datagram"}
    assert fabric.interface_files("eth0", sys) == {"type": "1"}
    assert fabric.interface_files("ib9", sys) == {}


def test_the_port_of_an_interface_is_read(sys: Path) -> None:
    files = {
        "state": "4: ACTIVE",
        "phys_state": "5: LinkUp",
        "rate": "100 Gb/sec (2X HDR)",
        "link_layer": "InfiniBand",
    }
    assert interfaces.stack("ib0", fabric.Sysfs(sys)).ports == (interfaces.PortInterface("ib0", 32, "mlx5_0", 1, 0),)
    assert fabric.port_files("mlx5_0", 1, sys) == files
    (other,) = interfaces.stack("eth0", fabric.Sysfs(sys)).ports
    assert other.adapter == ""
    # The second port of a card with two.
    (sys / "class/net/ib0/dev_port").write_text("1\n", encoding="ascii")
    (second,) = interfaces.stack("ib0", fabric.Sysfs(sys)).ports
    assert (second.adapter, second.number) == ("mlx5_0", 2)
    assert fabric.port_files("mlx5_0", 2, sys) == {}


def test_only_gpus_are_read(sys: Path) -> None:
    assert fabric.gpu_nodes(sys) == {"0000:3b:00.0": "1"}
