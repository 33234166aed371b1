# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the memory of a job on its node, and compare the plan with what vLLM reports while it starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.errors import HerdError, NotFoundError, reason_of
from ...core.vllm import catalogue, memory_plan
from ...core.vllm.memory_plan import EngineMemorySettings, GpuKind, MemoryPlan
from ...core.vllm.planning import engine_report
from ...core.vllm.planning import entry as plan_entry
from ..common import gpus
from . import checkpoint_folder


class MemoryReport:
    """The memory of one run of vLLM.

    :param source: the model as vLLM gets it: a folder, or an id whose files are in the Hub's cache.
    :param hub_cache: directory of that cache.
    :param arguments: of C(vllm serve).
    """

    def __init__(self, source: str, hub_cache: Path, tensor_parallel: int, arguments: Sequence[str]) -> None:
        self._source, self._hub_cache = source, hub_cache
        self._tensor_parallel, self._arguments = tensor_parallel, tuple(arguments)
        self._report = engine_report.EngineReport()

    def feed(self, line: str) -> None:
        """Read a line of vLLM's log."""
        self._report.feed(line)

    def start(self, log: Callable[[str], object]) -> None:
        """Write the comparison in a thread: the files of a model may be on a slow file system."""

        def run() -> None:
            try:
                self.write(log)
            except Exception as error:
                log(f"memory plan: none: {reason_of(error)}")

        threading.Thread(target=run, daemon=True).start()

    def write(self, log: Callable[[str], object]) -> None:
        """Log the plan and each difference, if vLLM reported its memory and the node has GPUs.

        :raises HerdError: if the model's files or an argument cannot be read.
        """
        if self._report.cache is None:
            return
        kind = _gpus()
        if kind is None:
            return
        found = self._plan(kind)
        log(f"memory plan: {found.sentence()}")
        for sentence in engine_report.compare(found, self._report):
            log(f"memory plan: {sentence}")

    def _plan(self, kind: GpuKind) -> MemoryPlan:
        path = Path(self._source)
        folder = path if path.is_absolute() else checkpoint_folder.find(self._hub_cache, self._source)
        published = catalogue.by_id(self._source)
        if folder is not None:
            found = checkpoint_folder.read(folder)
            shape, weights = found.shape, found.weights
        elif published is not None:
            shape, weights = published.shape, published.weights
        else:
            raise NotFoundError(f"the files of {self._source}", "none", "download the model")
        settings = plan_entry.with_arguments(EngineMemorySettings(), self._arguments)
        return memory_plan.plan(shape, weights, kind, self._tensor_parallel, settings)


def _gpus() -> GpuKind | None:
    """Return the node's GPU with the least memory; None without one. A broken driver is vLLM's to report."""
    try:
        report = gpus.read_with_capabilities()
    except HerdError:
        return None
    found = [
        memory_plan.gpu_kind(gpu.name, gpu.total_mib, gpu.compute_capability)
        for gpu in report.gpus
        if gpu.total_mib and gpu.compute_capability
    ]
    return min(found, key=lambda gpu: gpu.memory_bytes, default=None)
