# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service is bound to the NUMA node of its GPUs and of the fabric's adapter, in a tree like sysfs of such hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import numa
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import locality
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.locality import directives
from ansible_collections.herd.inference.plugins.module_utils.ports.host.fabric import Sysfs
from ansible_collections.herd.inference.plugins.modules import numa_info
from tests.unit.core.host.hardware.test_interfaces import Tree

NODES = {0: range(20), 1: range(20, 40)}
BOTH = {"NUMAPolicy": "preferred", "NUMAMask": "1", "CPUAffinity": "20-39"}


@pytest.fixture
def host(tmp_path: Path) -> Tree:
    """Return two sockets of 20 processors, a GPU at each, and the two InfiniBand cards of Tree."""
    tree = Tree(tmp_path)
    for node, listed in ((0, "0-19"), (1, "20-39")):
        tree.write(f"devices/system/node/node{node}/cpulist", listed)
    # Memory without processors.
    tree.write("devices/system/node/node2/cpulist", "")
    tree.write("devices/system/node/has_cpu", "0-1")
    gpu(tree, "0000:3b:00.0", 0)
    gpu(tree, "0000:af:00.0", 1)
    return tree


def gpu(tree: Tree, address: str, node: int) -> None:
    for file, text in (("vendor", "0x10de"), ("class", "0x030200"), ("numa_node", str(node))):
        tree.write(f"bus/pci/devices/{address}/{file}", text)


def test_devices_of_a_host_are_found(host: Tree) -> None:
    sysfs = Sysfs(host.root)
    assert locality.processors(sysfs) == {0: tuple(range(20)), 1: tuple(range(20, 40))}
    assert locality.gpu_nodes(sysfs) == {"0000:3b:00.0": 0, "0000:af:00.0": 1}
    host.bond("bond0", "active-backup 1", "ib0 ib1", "ib1")
    assert [locality.fabric_node(sysfs, name) for name in ("ib0", "bond0", "", "ib9")] == [0, 1, None, None]


def test_gpus_are_counted_by_their_pci_domain(host: Tree) -> None:
    gpu(host, "10000:01:00.0", 1)
    assert list(locality.gpu_nodes(Sysfs(host.root)))[-1] == "10000:01:00.0"


@pytest.mark.parametrize(
    ("ids", "nodes"),
    [
        ([], {0, 1}),
        (["1"], {1}),
        (["0", "1"], {0, 1}),
        (["0000:af:00.0"], {1}),
        (["00000000:AF:00.0"], {1}),
        (["GPU-1111"], {1}),
        (["GPU-2222"], {None}),
        (["7"], {None}),
    ],
)
def test_gpus_of_a_service_are_named_by_index_uuid_or_pci_bus_id(ids: list[str], nodes: set[int | None]) -> None:
    found = {"0000:3b:00.0": 0, "0000:af:00.0": 1}
    slots = {"GPU-0000-a": "00000000:3B:00.0", "GPU-1111-b": "00000000:AF:00.0"}
    assert locality.chosen_nodes(found, ids, slots) == nodes


@pytest.mark.parametrize(
    ("gpus", "fabric", "threads", "found", "words"),
    [
        ({1}, 1, 1, BOTH, "near the GPU and the fabric's adapter"),
        # They differ: the GPU's node counts.
        ({1}, 0, 20, BOTH, "near the GPU; the fabric's adapter is at node 0"),
        (set(), 1, 20, BOTH, "near the fabric's adapter"),
        ({None}, 1, 1, BOTH, "near the fabric's adapter"),
        ({1}, 1, 40, {"NUMAPolicy": "preferred", "NUMAMask": "1"}, "too few for 40 threads"),
        ({0, 1}, 1, 1, {}, "its GPUs are at the NUMA nodes 0-1"),
        ({None}, None, 1, {}, "does not say where"),
        (set(), None, 1, {}, "does not say where"),
    ],
)
def test_service_is_bound_to_the_node_of_its_devices(
    gpus: set[int | None], fabric: int | None, threads: int, found: dict[str, str], words: str
) -> None:
    binding = locality.service_binding(NODES, gpus, fabric, threads)
    assert directives(binding) == found
    assert words in binding.reason
    # A binding that could not be had is said.
    assert binding.is_short is ("CPUAffinity" not in found)


def test_host_with_one_node_needs_no_binding() -> None:
    binding = locality.service_binding({0: range(8)}, {0}, 0, 8)
    assert (directives(binding), binding.is_short) == ({}, False)


@pytest.mark.parametrize(
    ("given", "node", "affinity"),
    [
        ({"interface": "ib1", "gpus": [{"id": 1}], "threads": 1}, 1, "20-39"),
        ({"interface": "ib1", "gpus": [{"id": "0"}], "threads": 1}, 0, "0-19"),
        ({"interface": "ib1", "gpus": [], "threads": 8}, 1, "20-39"),
        ({"interface": "", "gpus": [{}, {}], "threads": 1}, None, None),
        ({"interface": "ib0", "gpus": [], "threads": 30}, 0, None),
    ],
)
def test_module_reads_the_host(
    host: Tree, monkeypatch: pytest.MonkeyPatch, given: dict[str, object], node: int | None, affinity: str | None
) -> None:
    monkeypatch.setattr(numa_info, "SYSFS", Sysfs(host.root))
    binding = numa_info.binding(given)
    assert (binding.node, directives(binding).get("CPUAffinity")) == (node, affinity)


@pytest.mark.parametrize(
    ("allowed", "policy", "found"),
    [
        (range(20, 40), "prefer:1", (True, "NUMA node 1, processors 20-39, memory prefer:1")),
        ((20, 22), "", (True, "NUMA node 1, processors 20,22")),
        (range(40), "default", (False, "NUMA nodes 0-1, processors 0-39, memory default")),
    ],
)
def test_running_process_shows_its_binding(allowed: range, policy: str, found: tuple[bool, str]) -> None:
    assert numa.running(NODES, allowed, policy) == found


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("Mems_allowed_list:\t0-1\n", (True, "NUMA node 1, processors 20-39")),
        ("Mems_allowed_list:\t1\n", (True, "NUMA node 1, processors 20-39, memory only of node 1")),
        # A control group keeps its memory from the node of its processors.
        ("Mems_allowed_list:\t0\n", (False, "NUMA node 1, processors 20-39, memory only of node 0")),
        ("Mems_allowed:\t00000001\n", (True, "NUMA node 1, processors 20-39")),
        ("Mems_allowed_list:\t\n", (True, "NUMA node 1, processors 20-39")),
    ],
)
def test_memory_that_a_control_group_allows_is_part_of_the_binding(status: str, found: tuple[bool, str]) -> None:
    listed = numa.memory_nodes(f"Name:\tllama\n{status}")
    assert numa.running(NODES, range(20, 40), "", listed) == found


@pytest.mark.parametrize(("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 8), "0-2,8"), ((5, 4, 4), "4-5")])
def test_numbers_are_written_as_the_kernel_does(numbers: tuple[int, ...], text: str) -> None:
    assert numa.format_list(numbers) == text
