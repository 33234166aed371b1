# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of the head's and the workers' processes on their hosts, and the limit that a job needs.

A limit on a control group counts the file's pages too: those of a plain mapping are given up when it is
reached, locked ones and a process's own are not, and the kernel kills.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..models.metadata import ModelMetadata
from .compute_buffer import ComputeBufferRules, head_bytes
from .kv_cache import CacheSettings

MIB = 1 << 20
#: A head or worker before it has read anything, with its libraries.
PROCESS = 48 * MIB
WORKER = 16 * MIB
#: Bytes that one byte of the header becomes when the vocabulary is read.
_VOCABULARY_FACTOR = 12
#: Checkpoints of a context that cannot be rolled back, for each slot.
CHECKPOINTS = 32
#: A GPU's driver pins this much of the host's memory for each process.
CUDA_HOST = 512 * MIB
#: What is added to a limit, for all that is not foreseen.
_SPARE = 1.1


@dataclass(frozen=True)
class HostNeed:
    """Bytes of one process.

    :param own: that nothing can take away; locked or copied weights among them.
    :param mapped: of the file, which may be given up and read again.
    :param loading: on top of own while the model is loaded.
    :param caches: of prompts and checkpoints, which fill with use.
    """

    own: int
    mapped: int
    loading: int
    caches: int

    @property
    def least(self) -> int:
        """The smallest limit under which the process lives."""
        return int((self.own + max(self.loading, self.caches)) * _SPARE)

    @property
    def comfortable(self) -> int:
        """A limit under which the file's pages stay, so that nothing is read twice."""
        return int((self.own + self.caches) * _SPARE) + max(self.mapped, self.loading)


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
    """What the head's process needs on its host.

    :param load_mode: one of mmap, read, lock, lock_read, as in the head's settings.
    :param gpus: the head's own GPUs.
    :param state: bytes of caches that cannot be rolled back, one slot's: of windows and recurrences.
    """
    own = PROCESS + metadata.header * _VOCABULARY_FACTOR + gpus * CUDA_HOST
    own += head_bytes(metadata, settings, rules, copies)
    own += metadata.vocabulary * 4 * settings.slots
    # Older releases read what stays with the head into memory of its own, whatever the mode.
    if load_mode != "mmap" or rules.copies_local:
        own += metadata.local
    # Tensors are read into a buffer before they are sent; older releases keep others, and give them back late.
    loading = metadata.largest * (3 if rules.copies_local else 1)
    caches = cache_ram_mib * MIB + CHECKPOINTS * state
    mapped = metadata.file_size if load_mode in ("mmap", "lock") else 0
    return HostNeed(own, mapped, loading, caches)


def worker_need(buffers: int, largest: int, on_gpu: bool) -> HostNeed:
    """What a worker's process needs on its host.

    :param buffers: bytes of its buffers, which are the host's where it computes on the CPU.
    """
    own = WORKER + (CUDA_HOST if on_gpu else buffers)
    return HostNeed(own, 0, largest, 0)
