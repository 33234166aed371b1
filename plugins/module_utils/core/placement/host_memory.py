# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the memory of the head's and workers' processes on their hosts, and the limit that a job needs.

The limit of a control group also counts pages of the model's file. At the limit the kernel evicts pages of a plain
mapping. It cannot evict locked pages and private memory, and kills the process.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..models.metadata import ModelMetadata
from .compute_buffer import ComputeBufferRules, head_bytes
from .kv_cache import CacheSettings

MIB = 1 << 20
#: Memory of a head and of a worker with their libraries, before they load anything.
PROCESS = 48 * MIB
WORKER = 16 * MIB
#: Bytes of memory for each byte of the header after the vocabulary is read.
_VOCABULARY_FACTOR = 12
#: Checkpoints per slot, for contexts that cannot be rolled back.
CHECKPOINTS = 32
#: Host memory that a GPU's driver pins for each process.
CUDA_HOST = 512 * MIB
#: Safety factor of a limit.
_SPARE = 1.1
#: Factor for the memory that prompts take: 64G was too small for a sum of 58 GiB.
PROMPTS = 1.25
#: Largest share of a host's memory for a limit; the system needs the rest.
HOST_SHARE = 0.9
_GIB = 1 << 30


@dataclass(frozen=True)
class HostNeed:
    """Bytes of one process.

    :param own: private memory, with locked or copied weights.
    :param mapped: pages of the file, which the kernel may evict and read again.
    :param loading: further memory while the model loads.
    :param caches: caches of prompts and checkpoints, which fill with use.
    """

    own: int
    mapped: int
    loading: int
    caches: int

    @property
    def least(self) -> int:
        """The smallest limit under which the process runs."""
        return int((self.own + max(self.loading, self.caches)) * _SPARE)

    @property
    def comfortable(self) -> int:
        """A limit under which all pages of the file stay in memory."""
        return int((self.own + self.caches) * _SPARE) + max(self.mapped, self.loading)


def with_files(comfortable: int, mapped: int, file_size: int, context: int) -> int:
    """Compute the bytes of a head with its whole file cached and a copy of its context.

    :param comfortable: bytes of its plan, with mapped pages.
    :param mapped: bytes of its file that it maps. A file that is read is cached, too.
    :param context: bytes of its whole context, on all devices. The engine copies it to the host to keep a prompt.
    """
    return comfortable + max(0, file_size - mapped) + context


def service_limit_gib(need: int, least: int, memory: int) -> int:
    """Compute the memory limit of an engine's service in whole GiB: above the need, and within the host's memory.

    :param least: the smallest limit under which the service runs, in bytes. The result is never below it.
    :param memory: bytes of the host's memory, 0 if unknown.
    """
    wanted, most = -int(-need * PROMPTS // _GIB), int(memory * HOST_SHARE) // _GIB
    return max(min(wanted, most) if memory else wanted, -(-least // _GIB))


def head_need(
    metadata: ModelMetadata,
    settings: CacheSettings,
    rules: ComputeBufferRules,
    copies: int,
    load_mode: str = "mmap",
    cache_ram_mib: int = 0,
    gpus: int = 0,
    state: int = 0,
) -> HostNeed:
    """Compute the memory of the head's process on its host.

    :param load_mode: one of mmap, read, lock, lock_read, as in the head's settings.
    :param gpus: number of the head's own GPUs.
    :param state: bytes of one slot's caches that cannot be rolled back: windows and recurrent states.
    """
    own = PROCESS + metadata.header * _VOCABULARY_FACTOR + gpus * CUDA_HOST
    own += head_bytes(metadata, settings, rules, copies)
    own += metadata.vocabulary * 4 * settings.outputs
    # Older releases copy the head's own tensors to private memory in every mode.
    if load_mode != "mmap" or rules.copies_local:
        own += metadata.local
    # Tensors pass through a buffer on their way to a worker. Older releases use more buffers and free them late.
    loading = metadata.largest * (3 if rules.copies_local else 1)
    caches = cache_ram_mib * MIB + CHECKPOINTS * state
    mapped = metadata.file_size if load_mode in ("mmap", "lock") else 0
    return HostNeed(own, mapped, loading, caches)


def worker_need(buffers: int, largest: int, on_gpu: bool) -> HostNeed:
    """Compute the memory of a worker's process on its host.

    :param buffers: bytes of its buffers, which are host memory on a CPU.
    """
    own = WORKER + (CUDA_HOST if on_gpu else buffers)
    return HostNeed(own, 0, largest, 0)
