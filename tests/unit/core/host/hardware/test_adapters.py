# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapters and interfaces of InfiniBand are listed from sysfs; ports of Ethernet, and those that are down, are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common.sysfs import Sysfs
from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import node_report
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import adapters
from tests.unit.core.host.hardware.test_interfaces import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Two InfiniBand ports, one of which is down, and a port of Ethernet with RDMA."""
    found = Tree(tmp_path)
    for number, layer in enumerate(("InfiniBand", "InfiniBand", "Ethernet")):
        found.write(f"class/infiniband/mlx5_{number}/ports/1/link_layer", layer)
    found.write("class/infiniband/mlx5_1/ports/1/state", "1: DOWN")
    return found


def test_active_ports_of_infiniband_have_the_names_of_nccl(tree: Tree) -> None:
    assert adapters.active_infiniband(Sysfs(tree.root)) == ("mlx5_0:1",)
    tree.write("class/infiniband/mlx5_0/ports/2/state", "4: ACTIVE")
    tree.write("class/infiniband/mlx5_0/ports/2/link_layer", "InfiniBand")
    assert adapters.active_infiniband(Sysfs(tree.root)) == ("mlx5_0:1", "mlx5_0:2")


def test_port_without_a_link_layer_is_one_of_an_old_kernel(tree: Tree) -> None:
    (tree.root / "class/infiniband/mlx5_0/ports/1/link_layer").unlink()
    assert adapters.active_infiniband(Sysfs(tree.root)) == ("mlx5_0:1",)


@pytest.mark.parametrize("state", ["2: INIT", "3: ARMED", "5: ACTIVE_DEFER", "0: NOP", ""])
def test_port_that_carries_no_traffic_is_not_listed(tree: Tree, state: str) -> None:
    tree.write("class/infiniband/mlx5_0/ports/1/state", state)
    assert adapters.active_infiniband(Sysfs(tree.root)) == ()


def test_interfaces_of_infiniband_that_are_up_are_listed(tree: Tree) -> None:
    tree.add("ib2", 32, state="down")
    tree.add("ib3", 32, state="unknown")
    assert adapters.infiniband_interfaces(Sysfs(tree.root)) == ["ib0", "ib1", "ib3"]


def test_host_without_adapters_has_none(tmp_path: Path) -> None:
    assert adapters.active_infiniband(Sysfs(tmp_path)) == ()
    assert adapters.infiniband_interfaces(Sysfs(tmp_path)) == []


def test_rank_uses_the_first_interface_of_infiniband_with_an_address(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_report, "SYS", Sysfs(tree.root))
    monkeypatch.setattr(node_report, "interface_address", {"ib1": "10.0.0.2", "ens1": "192.168.0.2"}.get)
    assert node_report.infiniband_interface() == "ib1"
