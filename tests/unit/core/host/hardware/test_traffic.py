# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of an interface come from the counters that see its whole traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common.sysfs import Sysfs
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import traffic
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.traffic import Traffic
from tests.unit.core.host.hardware.test_interfaces import Tree

STOPPED = 0xFFFFFFFF


class CountedTree(Tree):
    """A host whose ports and interfaces count."""

    def counters(self, adapter: str, received: object, sent: object) -> None:
        """Set the counters of a port, in words of four bytes."""
        for name, value in (("port_rcv_data", received), ("port_xmit_data", sent)):
            self.write(f"class/infiniband/{adapter}/ports/1/counters/{name}", str(value))

    def statistics(self, name: str, received: object, sent: object) -> None:
        """Set the statistics of an interface, in bytes."""
        for file, value in (("rx_bytes", received), ("tx_bytes", sent)):
            self.write(f"class/net/{name}/statistics/{file}", str(value))

    def of(self, name: str) -> Traffic | None:
        return traffic.of_interface(name, Sysfs(self.root))


@pytest.fixture
def tree(tmp_path: Path) -> CountedTree:
    made = CountedTree(tmp_path)
    made.counters("mlx5_0", 1000, 2000)
    made.statistics("ib0", 70, 80)
    return made


def test_infiniband_port_counts_words_of_four_bytes(tree: CountedTree) -> None:
    assert tree.of("ib0") == Traffic(("mlx5_0/1",), 4000, 8000)


def test_ports_of_a_bond_are_added(tree: CountedTree) -> None:
    tree.bond("bond0", "active-backup 1", "ib0 ib1", active="ib0")
    tree.counters("mlx5_1", 1, 2)
    assert tree.of("bond0") == Traffic(("mlx5_0/1", "mlx5_1/1"), 4004, 8008)


def test_bond_with_a_port_without_counters_uses_its_statistics(tree: CountedTree) -> None:
    tree.bond("bond0", "active-backup 1", "ib0 ib1", active="ib0")
    tree.statistics("bond0", 700, 800)
    assert tree.of("bond0") == Traffic(("bond0",), 700, 800)


@pytest.mark.parametrize("stopped", [STOPPED, "", "N/A", "-1", "0x10", 10**40])
def test_port_whose_counter_is_useless_falls_back_to_the_interface(tree: CountedTree, stopped: object) -> None:
    tree.counters("mlx5_0", stopped, 2000)
    assert tree.of("ib0") == Traffic(("ib0",), 70, 80)


def test_rdma_of_an_ethernet_port_is_added_to_its_packets(tree: CountedTree) -> None:
    tree.counters("mlx5_2", 25, 50)
    tree.statistics("ens1", 5, 6)
    assert tree.of("ens1") == Traffic(("ens1", "mlx5_2/1"), 105, 206)


def test_interface_without_an_adapter_has_statistics_only(tree: CountedTree) -> None:
    tree.add("eth0", 1)
    tree.statistics("eth0", 11, 12)
    assert tree.of("eth0") == Traffic(("eth0",), 11, 12)


@pytest.mark.parametrize("name", ["", "ib9", "ens1"])
def test_interface_that_counts_nothing_has_no_traffic(tree: CountedTree, name: str) -> None:
    assert tree.of(name) is None
