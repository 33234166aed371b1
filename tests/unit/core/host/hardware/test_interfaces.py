# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces are followed to their ports, in a tree like sysfs of hosts with InfiniBand, bonds, VLANs and children."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import sysfs as agent_sysfs
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import interfaces
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.interfaces import PortInterface, Stack
from ansible_collections.herd.inference.plugins.module_utils.ports.host import fabric

IB0 = PortInterface("ib0", 32, "mlx5_0", 1, 0)
IB1 = PortInterface("ib1", 32, "mlx5_1", 1, 1)
ENS1 = PortInterface("ens1", 1, "mlx5_2", 1, 1)


class Tree:
    """A host with two InfiniBand cards and an Ethernet card with RDMA."""

    def __init__(self, root: Path) -> None:
        self.root, self._index = root, 0
        for number, name in enumerate(("ib0", "ib1")):
            self.card(name, 32, f"mlx5_{number}", number)
        self.card("ens1", 1, "mlx5_2", 1)

    def write(self, path: str, text: str) -> None:
        """Write a file, as the kernel shows it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")

    def add(self, name: str, kind: int, state: str = "up", parent: str = "") -> None:
        """Add an interface; with a parent, its C(iflink) is that one's number."""
        self._index += 1
        link = (self.root / f"class/net/{parent}/ifindex").read_text().strip() if parent else self._index
        for file, text in (("type", kind), ("operstate", state), ("ifindex", self._index), ("iflink", link)):
            self.write(f"class/net/{name}/{file}", str(text))

    def card(self, name: str, kind: int, adapter: str, node: int) -> None:
        """Add the interface of a port of a card."""
        self.add(name, kind)
        card = self.root / f"devices/{adapter}"
        self.write(f"devices/{adapter}/numa_node", str(node))
        self.write(f"devices/{adapter}/infiniband/{adapter}/node_type", "1: CA")
        self.write(f"class/net/{name}/dev_port", "0")
        self.write(f"class/infiniband/{adapter}/ports/1/state", "4: ACTIVE")
        self.write(f"class/infiniband/{adapter}/ports/1/rate", "100 Gb/sec (4X EDR)")
        (self.root / f"class/net/{name}/device").symlink_to(card)

    def bond(self, name: str, mode: str, members: str, active: str = "", kind: int = 32) -> None:
        """Add a bond, with links to its members."""
        self.add(name, kind)
        for file, text in (("mode", mode), ("slaves", members), ("active_slave", active)):
            self.write(f"class/net/{name}/bonding/{file}", text)
        for member in members.split():
            (self.root / f"class/net/{name}/lower_{member}").symlink_to(self.root / f"class/net/{member}")

    def vlan(self, name: str, below: str) -> None:
        """Add a VLAN."""
        self.add(name, 1, parent=below)
        (self.root / f"class/net/{name}/lower_{below}").symlink_to(self.root / f"class/net/{below}")

    def stack(self, name: str) -> Stack:
        """Return the stack, which both layers read alike."""
        found = interfaces.stack(name, agent_sysfs.Sysfs(self.root))
        assert interfaces.stack(name, fabric.Sysfs(self.root)) == found
        return found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_interface_of_a_port_is_its_own_stack(tree: Tree) -> None:
    assert tree.stack("ib0") == Stack((IB0,))
    assert tree.stack("ens1") == Stack((ENS1,))


@pytest.mark.parametrize("name", ["", "ib9", "ib0.8001"])
def test_missing_interface_has_no_ports(tree: Tree, name: str) -> None:
    assert tree.stack(name) == Stack()


def test_child_of_a_partition_is_followed_by_its_parent_file(tree: Tree) -> None:
    tree.add("ib1.8001", 32)
    tree.write("class/net/ib1.8001/parent", "ib1")
    assert tree.stack("ib1.8001") == Stack((IB1,))


def test_child_with_a_name_of_its_own_is_followed_by_its_iflink(tree: Tree) -> None:
    tree.add("pkey1", 32, parent="ib1")
    assert tree.stack("pkey1") == Stack((IB1,))


def test_child_with_the_card_of_its_parent_keeps_the_parents_port(tree: Tree) -> None:
    """Older kernels link the card from a child too, and number its port 0."""
    tree.write("class/net/ib0/dev_port", "1")
    tree.add("ib0.8001", 32)
    tree.write("class/net/ib0.8001/parent", "ib0")
    tree.write("class/net/ib0.8001/dev_port", "0")
    (tree.root / "class/net/ib0.8001/device").symlink_to(tree.root / "devices/mlx5_0")
    assert tree.stack("ib0.8001") == Stack((PortInterface("ib0", 32, "mlx5_0", 2, 0),))


def test_second_port_of_an_older_kernel_is_in_dev_id(tree: Tree) -> None:
    tree.write("class/net/ib0/dev_id", "0x1")
    assert tree.stack("ib0").ports[0].number == 2


def test_dev_id_of_an_ethernet_interface_is_no_port(tree: Tree) -> None:
    tree.write("class/net/ens1/dev_id", "0x1")
    assert tree.stack("ens1").ports[0].number == 1


@pytest.mark.parametrize(("active", "ports"), [("ib1", (IB1, IB0)), ("ib0", (IB0, IB1)), ("", (IB0, IB1))])
def test_active_member_of_a_bond_comes_first(tree: Tree, active: str, ports: tuple[PortInterface, ...]) -> None:
    tree.bond("bond0", "active-backup 1", "ib0 ib1", active)
    found = tree.stack("bond0")
    assert found == Stack(ports, (), "bond0", "active-backup")
    assert not found.adds_rates
    assert found.numa_nodes == tuple(port.numa_node for port in ports)


def test_bond_over_children_of_partitions(tree: Tree) -> None:
    tree.add("ib0.8001", 32)
    tree.write("class/net/ib0.8001/parent", "ib0")
    tree.add("pkey1", 32, state="down", parent="ib1")
    tree.bond("bond0", "active-backup 1", "ib0.8001 pkey1", "ib0.8001")
    assert tree.stack("bond0") == Stack((IB0, IB1), ("pkey1",), "bond0", "active-backup")


def test_member_that_is_down_is_named(tree: Tree) -> None:
    tree.bond("bond0", "active-backup 1", "ib0 ib1", "ib0")
    tree.write("class/net/ib1/operstate", "down")
    assert tree.stack("bond0").down == ("ib1",)


def test_vlan_on_a_bond_of_ethernet(tree: Tree) -> None:
    tree.card("ens2", 1, "mlx5_3", 0)
    tree.bond("bond1", "802.3ad 4", "ens1 ens2", kind=1)
    tree.vlan("bond1.100", "bond1")
    found = tree.stack("bond1.100")
    assert found == Stack((ENS1, PortInterface("ens2", 1, "mlx5_3", 1, 0)), (), "bond1", "802.3ad")
    assert found.adds_rates


def test_bond_without_members_has_no_ports(tree: Tree) -> None:
    tree.bond("bond0", "active-backup 1", "")
    assert tree.stack("bond0") == Stack((), (), "bond0", "active-backup")


def test_iflink_of_other_kinds_is_not_followed(tree: Tree) -> None:
    """The number may be of another network namespace."""
    tree.add("veth0", 1, parent="ib0")
    assert tree.stack("veth0") == Stack((PortInterface("veth0", 1, "", 1, None),))


def test_loop_of_a_damaged_sysfs_ends(tree: Tree) -> None:
    for name, parent in (("a", "b"), ("b", "a")):
        tree.add(name, 32)
        tree.write(f"class/net/{name}/parent", parent)
    assert tree.stack("a").ports == ()
