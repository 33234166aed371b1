# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ib_route as Ansible runs it, on a host whose whole sysfs is a tree of files; ip is a double."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports import commands
from ansible_collections.herd.inference.plugins.module_utils.ports.host import fabric
from ansible_collections.herd.inference.plugins.modules import ib_route
from tests.unit.core.host.hardware.test_interfaces import Tree

OWN, PEER = "10.100.0.31", "10.100.0.32"
WANTED = {"address": OWN, "peers": [PEER], "rate_gbps": 100, "link_layer": "InfiniBand", "mtu": 2044}
UP = ("UP", "LOWER_UP")
Run = Callable[..., dict[str, Any]]
#: What reads sysfs, before a test leads it to a tree of its own.
READERS: dict[str, Any] = {
    name: getattr(fabric, name) for name in ("interface_files", "port_files", "gpu_nodes", "Sysfs")
}


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Tree:
    """Return a host with two InfiniBand cards, each at a socket of its own, and a GPU at the first one."""
    tree = Tree(tmp_path / "sys")
    for node, listed in ((0, "0-19"), (1, "20-39")):
        tree.write(f"devices/system/node/node{node}/cpulist", listed)
    for file, text in (("vendor", "0x10de"), ("class", "0x030200"), ("numa_node", "0")):
        tree.write(f"bus/pci/devices/0000:3b:00.0/{file}", text)
    for number in range(3):
        layer = "InfiniBand" if number < 2 else "Ethernet"
        for file, text in (("phys_state", "5: LinkUp"), ("link_layer", layer)):
            tree.write(f"class/infiniband/mlx5_{number}/ports/1/{file}", text)
    return tree


@pytest.fixture(name="run")
def _run(host: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def route_to(name: str, _peer: str) -> commands.CommandResult:
        return commands.CommandResult(0, json.dumps([{"dst": PEER, "dev": name, "prefsrc": OWN}]), "")

    def run(interface: str, flags: tuple[str, ...] = UP, route: str = "", **more: Any) -> dict[str, Any]:
        link = {
            "ifname": interface,
            "flags": list(flags),
            "mtu": 2044,
            "addr_info": [{"family": "inet", "local": OWN}],
        }
        for name in ("interface_files", "port_files", "gpu_nodes"):
            monkeypatch.setattr(fabric, name, partial(READERS[name], sys=host.root))
        monkeypatch.setattr(fabric, "Sysfs", partial(READERS["Sysfs"], host.root))
        monkeypatch.setattr(fabric, "links", lambda: json.dumps([link]))
        monkeypatch.setattr(fabric, "devinfo", str)
        monkeypatch.setattr(fabric, "route_to", partial(route_to, route or interface))
        monkeypatch.setattr(fabric, "accepts_packets", lambda _peer, _address, _interface: True)
        capsys.readouterr()
        with patch_module_args({**WANTED, "interface": interface, **more}), pytest.raises(SystemExit):
            ib_route.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def test_healthy_port_has_its_card_rate_and_numa_node(run: Run) -> None:
    found = run("ib0")
    assert (found["ok"], found["problems"], found["advice"]) == (True, [], [])
    port = {
        name: found["port"][name] for name in ("device", "number", "state", "link_layer", "rate_gbps", "generation")
    }
    assert port == {
        "device": "mlx5_0",
        "number": 1,
        "state": "ACTIVE",
        "link_layer": "InfiniBand",
        "rate_gbps": 100.0,
        "generation": "EDR",
    }
    assert (found["interface"]["numa_node"], found["gpu_nodes"]) == (0, {"0000:3b:00.0": 0})
    assert found["routes"][0]["state"] == "fabric"


def test_child_of_a_partition_is_healthy_with_the_port_of_its_parent(host: Tree, run: Run) -> None:
    host.add("ib0.8001", 32)
    host.write("class/net/ib0.8001/parent", "ib0")
    found = run("ib0.8001")
    assert (found["ok"], found["port"]["device"], found["port"]["interface"]) == (True, "mlx5_0", "ib0")


def test_degraded_port_below_a_child_is_named(host: Tree, run: Run) -> None:
    host.add("ib0.8001", 32)
    host.write("class/net/ib0.8001/parent", "ib0")
    host.write("class/infiniband/mlx5_0/ports/1/rate", "25 Gb/sec (1X EDR)")
    found = run("ib0.8001")
    assert found["failed"]
    assert "expected a link of 100 Gb/s on" in found["msg"]
    assert "found 25" in found["msg"]


def test_port_that_is_not_active_is_named(host: Tree, run: Run) -> None:
    host.write("class/infiniband/mlx5_0/ports/1/state", "2: INIT")
    assert "to be ACTIVE, found INIT (LinkUp)" in run("ib0")["msg"]


def test_active_port_of_a_bond_comes_first_and_all_are_checked(host: Tree, run: Run) -> None:
    host.bond("bond0", "active-backup 1", "ib0 ib1", "ib1")
    found = run("bond0")
    assert (found["ok"], found["port"]["device"], found["other_ports"][0]["device"]) == (True, "mlx5_1", "mlx5_0")
    host.write("class/net/ib0/operstate", "down")
    assert "expected ib0 below bond0 to be up, found it down" in run("bond0")["msg"]


def test_card_far_from_the_gpus_is_advice(run: Run) -> None:
    found = run("ib1")
    assert found["ok"]
    assert "expected ib1 (NUMA node 1) and the GPUs on one NUMA node" in " ".join(found["advice"])


def test_ethernet_interface_is_not_taken_for_infiniband(run: Run) -> None:
    assert "expected ens1 to be an InfiniBand interface, found kind 1" in run("ens1")["msg"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [((), "expected ib0 to be up, found it down"), (("UP",), "expected a link on ib0, found no carrier")],
)
def test_link_that_is_down_is_named(run: Run, flags: tuple[str, ...], words: str) -> None:
    assert words in run("ib0", flags)["msg"]


def test_traffic_that_leaves_by_ethernet_is_named(run: Run) -> None:
    found = run("ib0", route="eth0", report_only=True)
    assert not found["ok"]
    assert "expected traffic to 10.100.0.32 to leave by ib0, found it on eth0" in found["problems"][0]
