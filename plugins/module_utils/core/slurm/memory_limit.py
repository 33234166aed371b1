# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory limit of a tier's job, on each of its nodes.

Slurm's limit is that of a control group. It counts what all processes of the job hold on a node and the pages of every
file that they read or write there, and at the limit the kernel kills one of them: often a worker, and not the one that
took most.

What can be counted is the documents' own sum. A model of 72 B in four bits has 44 GiB in its file, which goes through
the head's page cache on its way to the workers. Its context of 128K tokens in q4_0 has 11 GiB, of which the engine
makes a copy on the host when it keeps a prompt. And there are buffers. That is 58 GiB, and 64G was killed, with prompts
of 25,000 tokens and more. So the limit is a quarter more than the sum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from ..placement import host_memory

MIB = 1 << 20
_LIMIT = re.compile(r"(\d+)([KMGTkmgt]?)")
#: In KiB.
_UNITS = {"K": 1, "": 1 << 10, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
_GIB = 1 << 30
#: The runtime's own process and srun, for each node.
RUNTIME = 512 * MIB
#: What prompts take besides, as 64G was too little for a sum of 58 GiB.
SPARE = 1.25
#: Of a node's memory that Slurm can give to one job at most: the rest is its system's.
NODE_SHARE = 0.9


@dataclass(frozen=True)
class Need:
    """Bytes on a node.

    :param least: below it a process is killed before it has answered anything.
    :param sum: with every file cached, a copy of the context, and all that is foreseen.
    """

    least: int = 0
    sum: int = 0

    def plus(self, other: Need) -> Need:
        """Both on the same node."""
        return Need(self.least + other.least, self.sum + other.sum)

    @property
    def limit_mib(self) -> int:
        """The limit to set, in whole GiB as people write it."""
        return -(-int(self.sum * SPARE + RUNTIME) // _GIB) * 1024

    @property
    def least_mib(self) -> int:
        """The smallest limit that can work at all."""
        return -(-(self.least + RUNTIME) // MIB)


def of_engine(least: int, comfortable: int, mapped: int, file_size: int, context: int) -> Need:
    """An engine that answers: a head, or a model's process of a router.

    :param comfortable: what its plan counts, with the pages that it maps.
    :param mapped: those of the file that it maps. One that reads its file has the pages cached too.
    :param context: bytes of its whole context, on whichever devices.
    """
    return Need(least, comfortable + max(0, file_size - mapped) + context)


def of_worker(total: int, weights: int, largest: int, on_gpu: bool) -> Need:
    """A worker: tensors are received whole, and go through files of its cache.

    :param total: bytes of its device; :param weights: those of them that are the model's.
    :param largest: the largest tensor.
    """
    need = host_memory.worker_need(total, largest, on_gpu)
    return Need(need.least, need.least + largest + weights)


def of_distributed(plan: Mapping[str, Any], file_size: int, largest: int) -> dict[str, Need]:
    """Every node of a head with workers, by its name; the head's is the empty one where it has no device.

    :param plan: a placement as data.
    """
    devices = plan["devices"]
    context = sum(int(device["cache"]) + int(device["state"]) for device in devices)
    head, own = plan["head"], [str(device["host"]) for device in devices if not device["endpoint"]]
    at = own[0] if own else ""
    found = {at: of_engine(int(head["least"]), int(head["comfortable"]), int(head["mapped"]), file_size, context)}
    for device in devices:
        if device["endpoint"]:
            need = of_worker(int(device["total"]), int(device["weights"]), largest, bool(device["modelled"]))
            found[device["host"]] = found.get(device["host"], Need()).plus(need)
    return found


def of_router(models: Sequence[Mapping[str, Any]], models_max: int) -> Need:
    """A router: the largest models together, whichever they are, and the router itself.

    :param models: of its plan.
    """
    needs = [
        of_engine(
            int(model["least"]),
            int(model["comfortable"]),
            int(model["mapped"]),
            int(model["file_size"]),
            int(model["context"]),
        )
        for model in models
    ]
    least = sorted((need.least for need in needs), reverse=True)[:models_max]
    total = sorted((need.sum for need in needs), reverse=True)[:models_max]
    return Need(host_memory.PROCESS + sum(least), host_memory.PROCESS + sum(total))


def of_gpus(gpus_mib: int, models_max: int) -> int:
    """The most that a router's models can take whose weights and contexts all fit on its GPUs."""
    return gpus_mib * MIB + (models_max + 1) * (host_memory.PROCESS + host_memory.CUDA_HOST)


def given_mib(text: Any) -> int:
    """A limit as sbatch reads it, such as C(200G), or C(65536), which is in MiB; 0 for none, or for the whole node."""
    word = str(text or "").strip()
    match = _LIMIT.fullmatch(word)
    if word and not match:
        raise InvalidInputError("a memory limit such as 200G", repr(word), "write a whole number with K, M, G or T")
    return int(match.group(1)) * _UNITS[match.group(2).upper()] // 1024 if match else 0


def most_mib(memory_gib: float) -> int:
    """The largest limit that a node can give, in whole GiB; 0 where its memory is not known."""
    return int(memory_gib * NODE_SHARE) * 1024


def warnings(given: int, wanted_mib: int, node_mib: int) -> list[str]:
    """What may become of a job, without its tier's name.

    :param given: the limit that the inventory says, 0 for none.
    :param wanted_mib: that of the plan.
    :param node_mib: what its smallest node can give, 0 where that is not known.
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
