# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the processors of an engine near its GPU and its fabric adapter.

The kernel allocates memory on the NUMA node of the processors. If a job has too few processors on that node for all
threads of its engine, only the memory is bound to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Binding:
    """Processors to bind to; empty for no binding. The reason is logged.

    :param memory: NUMA node of the memory, if processors are not bound.
    :param node: NUMA node of processors or memory; None for no binding.
    :param is_short: whether a machine of several nodes has no binding of processors.
    """

    processors: tuple[int, ...]
    reason: str
    memory: int | None = None
    node: int | None = None
    is_short: bool = False


def parse_list(text: str) -> tuple[int, ...]:
    """Read a list of the kernel, such as C(0-3,8)."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _dash, last = part.partition("-")
        if first.strip().isdigit():
            found |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def format_list(numbers: Collection[int]) -> str:
    """Write numbers as the kernel and systemd do: C(0-3,8)."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def device_node(text: str) -> int | None:
    """Read C(numa_node) of a device in sysfs. The kernel writes -1 where it does not know the node.

    :param text: content of the file; empty if there is none.
    """
    return int(text) if text.strip().isdigit() else None


def first_gpu(environment: Mapping[str, str]) -> int:
    """Return the index of a step's first GPU on its node.

    C(SLURM_JOB_GPUS) describes the node of the job's script, but steps on other nodes inherit it.
    """
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        found = re.match(r"\d+", environment.get(name, ""))
        if found:
            return int(found[0])
    return 0


def near(
    nodes: Mapping[int, Collection[int]],
    allowed: Collection[int],
    gpu_node: int | None,
    fabric_node: int | None,
    threads: int = 1,
) -> Binding:
    """Choose from a job's processors, with the processors of each NUMA node.

    :param gpu_node: NUMA node of the GPU; None if it is unknown.
    :param threads: threads of the engine, which would wait for each other on fewer processors.
    """
    if len(nodes) < 2:
        return Binding((), "this machine has one NUMA node")
    gpu = gpu_node if gpu_node in nodes else None
    fabric = fabric_node if fabric_node in nodes else None
    wanted = gpu if gpu is not None else fabric
    if wanted is None:
        return Binding((), "the machine does not say where its GPU and its fabric's adapter are", is_short=True)
    what = "the GPU" if gpu is not None else "the fabric's adapter"
    if gpu is not None and fabric is not None:
        what += " and the fabric's adapter" if gpu == fabric else f"; the fabric's adapter is at node {fabric}"
    chosen = tuple(sorted(set(nodes[wanted]) & set(allowed)))
    if not chosen:
        return Binding((), f"none of its processors is at NUMA node {wanted}, near {what}", is_short=True)
    if len(chosen) < threads:
        few = f"only {len(chosen)} of its processors are at NUMA node {wanted}, near {what}"
        return Binding(
            (), f"{few}, too few for {threads} threads: only its memory comes from there", wanted, wanted, True
        )
    return Binding(chosen, f"NUMA node {wanted}, near {what}", node=wanted)


def memory_nodes(status: str) -> tuple[int, ...]:
    """Return the nodes of which a process may have memory, from C(Mems_allowed_list) of proc(5); none if unknown."""
    listed = re.search(r"^Mems_allowed_list:\s*([0-9,-]+)$", status, re.MULTILINE)
    return parse_list(listed[1]) if listed else ()


def running(
    nodes: Mapping[int, Collection[int]], allowed: Collection[int], policy: str, memory: Collection[int] = ()
) -> tuple[bool, str]:
    """Return whether a running process is bound to one NUMA node, and what it may use.

    Bound are its processors. Memory follows them, unless its control group keeps it from that node.

    :param policy: of its memory, as the kernel writes it in C(numa_maps), such as C(prefer:1); empty if unknown.
    :param memory: nodes of which it may have memory; empty if they are unknown.
    """
    at = sorted(node for node, listed in nodes.items() if set(listed) & set(allowed))
    of_memory = f", memory {policy}" if policy else ""
    if memory and set(memory) < set(nodes):
        of_memory += f", memory only of node{'s' if len(set(memory)) > 1 else ''} {format_list(memory)}"
    where = f"NUMA node{'s' if len(at) > 1 else ''} {format_list(at)}"
    bound = len(at) == 1 and (not memory or at[0] in memory)
    return bound, f"{where}, processors {format_list(allowed)}{of_memory}"
