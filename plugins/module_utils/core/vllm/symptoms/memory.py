# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory: too little on the GPU for weights, cache or graphs, too little on the node, full disks.

Each cure names the change that would fit, computed from the numbers in vLLM's message (v1/core/kv_cache_utils.py,
v1/worker/utils.py, v1/worker/gpu_model_runner.py and cpu_worker.py of 0.32.0).
"""

from __future__ import annotations

import math
import re

from .rule import WARNING, Settings, rule

_GPU, _HOST, _CONTEXT, _CACHE = "gpu-out-of-memory", "node-out-of-memory", "context-too-long", "cache-not-writable"
_MOST_UTILIZATION = 0.95
_MIB = 1 / 1024
_BLOCK = 16


def _down(value: float) -> float:
    return math.floor(value * 100) / 100


def _gib(number: str, unit: str) -> float:
    return float(number) * (_MIB if unit.lower() == "mib" else 1.0)


def _kv_cure(found: re.Match[str], settings: Settings) -> str:
    fits = int(found["fits"]) // _BLOCK * _BLOCK if found["fits"] else 0
    less = f"set max_model_len to {fits} or less" if fits else "set a smaller max_model_len, or use more GPUs"
    if settings.utilization < _MOST_UTILIZATION:
        less += f", or raise gpu_memory_utilization from {settings.utilization:g} to {_MOST_UTILIZATION:g}"
    return f"{less}; herdctl vllm plan shows what fits"


def _start_cure(found: re.Match[str], _settings: Settings) -> str:
    free, total = float(found["free"]), float(found["total"])
    used = total - free
    fits = _down(free / total - 0.01)
    alone = f"another process uses {used:.1f} GiB of this GPU: request whole GPUs, and see nvidia-smi on the node"
    return f"{alone}; or set gpu_memory_utilization to {max(fits, 0.1):g}"


def _cuda_cure(found: re.Match[str], settings: Settings) -> str:
    if not settings.loaded:
        return "the weights do not fit: use more GPUs, a quantised variant of the model, or GPUs with more memory"
    missing = _gib(found["tried"], found["unit"]) - _gib(found["free"], found["free_unit"])
    lower = _down(settings.utilization - max(missing, 0.0) / float(found["total"]) - 0.02)
    sequences = settings.whole("max_num_seqs")
    fewer = f"max_num_seqs to {max(1, sequences // 2)}" if sequences else "max_num_seqs to 8"
    return f"set gpu_memory_utilization to {max(lower, 0.5):g} (from {settings.utilization:g}), or {fewer}"


def _warmup_cure(found: re.Match[str], settings: Settings) -> str:
    fewer = max(1, int(found["requests"]) // 2)
    return f"set max_num_seqs to {fewer}, or gpu_memory_utilization to {_down(settings.utilization - 0.05):g}"


def _general_cure(_found: re.Match[str], settings: Settings) -> str:
    lower = _down(settings.utilization - 0.05)
    return f"set gpu_memory_utilization to {lower:g}, max_num_seqs to 8, or half of max_model_len"


def _no_kv_cure(_found: re.Match[str], settings: Settings) -> str:
    more = f"raise gpu_memory_utilization from {settings.utilization:g} to {_MOST_UTILIZATION:g}, "
    return f"{more if settings.utilization < _MOST_UTILIZATION else ''}use more GPUs, or a quantised variant"


RULES = (
    rule(
        "kv-cache-too-small",
        "is larger than the available KV cache",
        r"max seq len \((?P<len>\d+)\), \(?(?P<need>[\d.]+) GiB KV cache is needed, which is larger than the available "
        r"KV cache memory \((?P<have>[\d.]+) GiB\)(?:.*?estimated maximum model length is (?P<fits>\d+))?",
        "a context of {len} tokens needs {need} GiB of cache on each GPU, and {have} GiB are left beside the weights",
        _kv_cure,
        _CONTEXT,
        is_permanent=True,
    ),
    rule(
        "no-room-for-kv-cache",
        "No available memory for the cache blocks",
        r"No available memory for the cache blocks",
        "the weights leave no GPU memory for the key-value cache",
        _no_kv_cure,
        _GPU,
        is_permanent=True,
    ),
    rule(
        "gpu-in-use",
        "is less than desired GPU memory utilization",
        r"Free memory on device (?:\S+ )?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired "
        r"GPU memory utilization \((?P<share>[\d.]+), (?P<want>[\d.]+) GiB\)",
        "a GPU has {free} of {total} GiB free, and vLLM was told to use {want} GiB",
        _start_cure,
        _GPU,
    ),
    rule(
        "weights-too-large",
        "Failed to load model - not enough GPU memory",
        r"not enough GPU memory",
        "the weights do not fit into the memory of the GPUs",
        "use more GPUs, a quantised variant of the model, or GPUs with more memory; herdctl vllm plan shows what fits",
        _GPU,
        is_permanent=True,
    ),
    rule(
        "gpu-out-of-memory",
        "occurred when warming up",
        r"CUDA out of memory occurred when warming up \w+ with (?P<requests>\d+) dummy requests",
        "the GPU's memory ran out while vLLM tried {requests} requests at once",
        _warmup_cure,
        _GPU,
    ),
    rule(
        "gpu-out-of-memory",
        "CUDA out of memory",
        r"CUDA out of memory\. Tried to allocate (?P<tried>[\d.]+) (?P<unit>[GM]iB)\. GPU (?P<gpu>\d+) has a total "
        r"capacity of (?P<total>[\d.]+) GiB of which (?P<free>[\d.]+) (?P<free_unit>[GM]iB) is free",
        "GPU {gpu} ran out of memory: {tried} {unit} were wanted, {free} {free_unit} of {total} GiB were free",
        _cuda_cure,
        _GPU,
    ),
    rule(
        "gpu-out-of-memory",
        "OutOfMemoryError",
        r"\bOutOfMemoryError\b",
        "a GPU ran out of memory",
        _general_cure,
        _GPU,
    ),
    rule(
        "gpu-out-of-memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        r"CUBLAS_STATUS_ALLOC_FAILED",
        "a GPU ran out of memory while cuBLAS started",
        _general_cure,
        _GPU,
    ),
    rule(
        "cpu-cache-too-large",
        "on kv cache allocation is less than requested",
        r"Available memory on node \d+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on kv cache allocation is less than "
        r"requested memory for kv \((?P<want>[\d.]+) GiB\)",
        "the node has {free} GiB free, and the cache was to take {want} GiB",
        "set VLLM_CPU_KVCACHE_SPACE below {free}, or request more memory (slurm.mem_per_gpu)",
        _HOST,
    ),
    rule(
        "node-out-of-memory",
        "oom",
        r"Detected \d+ oom[_-]kill events?|oom-kill event\(s\)|Exceeded job memory limit|Some of your processes may "
        r"have been killed by the cgroup out-of-memory handler",
        "the job used more memory of the node than it requested, and the kernel killed a process",
        "raise slurm.mem_per_gpu (the document's 64G for each GPU suffices for most models)",
        _HOST,
    ),
    rule(
        "node-out-of-memory",
        "Cannot allocate memory",
        r"(?:Errno 12\]|DefaultCPUAllocator:.*) ?Cannot allocate memory|"
        r"DefaultCPUAllocator: can't allocate memory",
        "a process of the job found no memory on the node",
        "raise slurm.mem_per_gpu",
        _HOST,
    ),
    rule(
        "disk-quota-exceeded",
        "Disk quota exceeded",
        r"\[Errno 122\] Disk quota exceeded(?:: '(?P<path>[^']*)')?",
        "your quota on the file system of {path} is used up",
        "run herdctl vllm cleanup to see what may go, or set the cache section to a work space with more room",
        _CACHE,
    ),
    rule(
        "disk-full",
        "No space left on device",
        r"\[Errno 28\] No space left on device(?:: '(?P<path>[^']*)')?",
        "the file system of {path} is full",
        "run herdctl vllm cleanup to see what may go, or set the cache section to a file system with more room",
        _CACHE,
    ),
    rule(
        "open-files",
        "Too many open files",
        r"\[Errno 24\] Too many open files",
        "the limit of open files is reached",
        "run ulimit -n 65536 before the launch, or ask the cluster's support",
        _HOST,
    ),
    rule(
        "kv-cache-preempted",
        "is preempted",
        r"Sequence group \S+ is preempted|request \S+ is preempted",
        "the key-value cache is full, and requests wait for room",
        "lower max_num_seqs, or raise gpu_memory_utilization",
        _GPU,
        WARNING,
    ),
)
