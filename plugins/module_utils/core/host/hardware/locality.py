# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the NUMA nodes of a host's GPUs and of its fabric's adapter in sysfs, and bind a service to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .. import numa
from . import interfaces
from .nvidia_smi_text import pci_slot

_NVIDIA = "0x10de"
# A display or 3D controller.
_DISPLAY_CLASS = "0x03"


def processors(sysfs: interfaces.Sysfs) -> dict[int, tuple[int, ...]]:
    """Return the processors of each NUMA node."""
    folder = "devices/system/node"
    found = {
        int(name[4:]): numa.parse_list(sysfs.read(f"{folder}/{name}/cpulist"))
        for name in sysfs.names(folder)
        if name.startswith("node") and name[4:].isdigit()
    }
    # A node without processors has memory only, as some accelerators do.
    return {node: listed for node, listed in found.items() if listed}


def gpu_nodes(sysfs: interfaces.Sysfs) -> dict[str, int | None]:
    """Return the NUMA node of each NVIDIA GPU by PCI address, in the order in which CUDA and nvidia-smi count."""
    folder, found = "bus/pci/devices", {}
    for name in sysfs.names(folder):
        is_display = sysfs.read(f"{folder}/{name}/class").startswith(_DISPLAY_CLASS)
        if is_display and sysfs.read(f"{folder}/{name}/vendor") == _NVIDIA:
            found[name] = numa.device_node(sysfs.read(f"{folder}/{name}/numa_node"))
    return dict(sorted(found.items(), key=lambda item: pci_slot(item[0]) or ()))


def fabric_node(sysfs: interfaces.Sysfs, interface: str) -> int | None:
    """Return the NUMA node of the port that carries the traffic of an interface."""
    return next(iter(interfaces.stack(interface, sysfs).numa_nodes), None)


def chosen_nodes(found: Mapping[str, int | None], ids: Sequence[str], slots: Mapping[str, str]) -> set[int | None]:
    """Return the NUMA nodes of the GPUs that ids name, or of all GPUs without ids.

    :param found: NUMA node by PCI address.
    :param ids: index, UUID or its beginning, or PCI bus id.
    :param slots: PCI bus id by UUID; empty if it is not known.
    """
    if not ids:
        return set(found.values())
    nodes = list(found.values())
    by_slot = {pci_slot(address): node for address, node in found.items()}
    chosen: set[int | None] = set()
    for wanted in ids:
        if wanted.isdigit():
            chosen.add(nodes[int(wanted)] if int(wanted) < len(nodes) else None)
        else:
            slot = next((bus for uuid, bus in slots.items() if uuid.startswith(wanted)), wanted)
            chosen.add(by_slot.get(pci_slot(slot)))
    return chosen


def service_binding(
    nodes: Mapping[int, Collection[int]], gpus: Collection[int | None], fabric: int | None, threads: int
) -> numa.Binding:
    """Choose the NUMA node of a service on a host of its own.

    :param nodes: processors of each NUMA node.
    :param gpus: NUMA nodes of its GPUs; None for an unknown one, empty without GPUs.
    :param fabric: NUMA node of the fabric's adapter.
    :param threads: threads that compute; a binding to fewer processors would slow them down.
    """
    known = sorted({node for node in gpus if node is not None})
    if len(nodes) > 1 and len(known) > 1:
        return numa.Binding((), f"its GPUs are at the NUMA nodes {numa.format_list(known)}", is_short=True)
    everything = [number for listed in nodes.values() for number in listed]
    return numa.near(nodes, everything, known[0] if known else None, fabric, threads)


def directives(binding: numa.Binding) -> dict[str, str]:
    """Return the directives of a unit: memory preferred from the node, and its processors.

    C(bind) would fail a service whose model needs the memory of both nodes.
    """
    if binding.node is None:
        return {}
    found = {"NUMAPolicy": "preferred", "NUMAMask": str(binding.node)}
    if binding.processors:
        found["CPUAffinity"] = numa.format_list(binding.processors)
    return found
