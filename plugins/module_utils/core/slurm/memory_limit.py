# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calculate the memory limit of a tier's job, on each of its nodes.

Slurm's limit is that of a control group. It counts the memory of all processes of the job on a node, and the pages of
every file that they read or write. At the limit the kernel kills one process, often a worker that did not take most.

The measured case is a 72 B model in four bits. Its file of 44 GiB passes through the head's page cache. Its context of
128K tokens in q4_0 has 11 GiB, and the engine copies it to the host when it keeps a prompt. With buffers, that is
58 GiB. A limit of 64G was too small with prompts of 25,000 tokens and more. So the limit is a quarter above the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from ..placement import host_memory
from ..text import bytes_of

MIB = 1 << 20
_GIB = 1 << 30
#: Memory of the runtime and of srun, on each node.
RUNTIME = 512 * MIB


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a job needs on a node.

    :param least: below this, a process is killed before it answers anything.
    :param sum: with all files cached, a copy of the context and all buffers.
    """

    least: int = 0
    sum: int = 0

    def plus(self, other: MemoryNeed) -> MemoryNeed:
        """Add the need of another engine on the same node."""
        return MemoryNeed(self.least + other.least, self.sum + other.sum)

    @property
    def limit_mib(self) -> int:
        """The limit to set, in MiB, as whole GiB."""
        return -(-int(self.sum * host_memory.PROMPTS + RUNTIME) // _GIB) * 1024

    @property
    def least_mib(self) -> int:
        """The smallest limit that can work, in MiB."""
        return -(-(self.least + RUNTIME) // MIB)


def of_engine(least: int, comfortable: int, mapped: int, file_size: int, context: int) -> MemoryNeed:
    """Calculate the need of a head or of a model's process of a router, by the sizes of C(host_memory.with_files)."""
    return MemoryNeed(least, host_memory.with_files(comfortable, mapped, file_size, context))


def of_worker(total: int, weights: int, largest: int, on_gpu: bool) -> MemoryNeed:
    """Calculate the need of a worker. It receives whole tensors and writes them to its cache.

    :param total: bytes on its device.
    :param weights: bytes of the model among them.
    :param largest: bytes of the largest tensor.
    """
    need = host_memory.worker_need(total, largest, on_gpu)
    return MemoryNeed(need.least, need.least + largest + weights)


def of_distributed(
    plan: Mapping[str, Any], file_size: int, largest: int, draft_context: int = 0
) -> dict[str, MemoryNeed]:
    """Calculate the need of each node of a head with workers, by name. A head without a device has an empty name.

    :param plan: a placement as JSON data.
    :param file_size: bytes of the model's file, and of its draft's.
    :param draft_context: bytes of the draft's whole context.
    """
    devices = plan["devices"]
    context = draft_context + sum(int(device["cache"]) + int(device["state"]) for device in devices)
    head, own = plan["head"], [str(device["host"]) for device in devices if not device["endpoint"]]
    at = own[0] if own else ""
    found = {at: of_engine(int(head["least"]), int(head["comfortable"]), int(head["mapped"]), file_size, context)}
    for device in devices:
        if device["endpoint"]:
            need = of_worker(int(device["total"]), int(device["weights"]), largest, bool(device["modelled"]))
            found[device["host"]] = found.get(device["host"], MemoryNeed()).plus(need)
    return found


def of_router(models: Sequence[Mapping[str, Any]], models_max: int) -> MemoryNeed:
    """Calculate the need of a router with its largest models.

    :param models: the models of its plan.
    """
    sizes = ("least", "comfortable", "mapped", "file_size", "context")
    needs = [of_engine(*(int(model[name]) for name in sizes)) for model in models]
    least = sorted((need.least for need in needs), reverse=True)[:models_max]
    total = sorted((need.sum for need in needs), reverse=True)[:models_max]
    return MemoryNeed(host_memory.PROCESS + sum(least), host_memory.PROCESS + sum(total))


def of_gpus(gpus_mib: int, models_max: int) -> int:
    """Return the most bytes that a router's models need if they all fit on its GPUs."""
    return gpus_mib * MIB + (models_max + 1) * (host_memory.PROCESS + host_memory.CUDA_HOST)


def given_mib(text: Any) -> int:
    """Convert a limit of sbatch (C(200G), or C(65536) in MiB) to MiB; 0 is no limit, or the whole node."""
    word = str(text or "").strip()
    size = bytes_of(f"{word}M" if word.isdigit() else word)
    if word and (size is None or "." in word):
        raise InvalidInputError("a memory limit such as 200G", repr(word), "write a whole number with K, M, G or T")
    return (size or 0) // MIB


def most_mib(memory_gib: float) -> int:
    """Return the largest limit on a node, in MiB as whole GiB; 0 if its memory is unknown."""
    return int(memory_gib * host_memory.HOST_SHARE) * 1024


def warnings(given: int, wanted_mib: int, node_mib: int) -> list[str]:
    """Warn of a limit that may be too small.

    :param given: limit of the inventory in MiB, 0 for none.
    :param wanted_mib: limit of the plan.
    :param node_mib: largest limit on its smallest node, 0 if unknown.
    """
    if given and given < wanted_mib:
        return [
            f"its memory limit of {_shown(given)} may be too small. With its files in the page cache, a copy of "
            f"the context and what prompts take it may need {_shown(wanted_mib)}, and Slurm kills a job that reaches "
            f"its limit, often only when prompts get long. Write at least {_shown(wanted_mib)}, or leave memory empty."
        ]
    if not given and node_mib and node_mib < wanted_mib:
        return [
            f"its smallest node can give it {_shown(node_mib)}, and it may need {_shown(wanted_mib)} with its files in "
            f"the page cache, a copy of the context and what prompts take: Slurm kills a job that reaches its limit. "
            f"Choose other hosts, a smaller context or a smaller model."
        ]
    return []


def _shown(mib: int) -> str:
    return f"{mib // 1024}G" if mib % 1024 == 0 else f"{mib}M"
