# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the memory of each GPU under vLLM: weights, bounds for the rest, and what is left for the cache.

vLLM takes C(gpu_memory_utilization) of a GPU. It loads the weights, runs the largest step once and measures the peak,
captures CUDA graphs, and gives the rest to the key-value cache (vLLM 0.33, C(v1/worker/gpu_worker.py),
C(determine_available_memory)). Weights and cache are computed; the peak, the graphs and what CUDA and NCCL take are
upper bounds. C(engine_report) compares a plan with what vLLM reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidInputError
from ..text import size as size_text
from .config_document import rules
from .planning.kv_cache import CacheSettings, KvCache
from .planning.model_config import ModelShape
from .planning.weights import WeightBytes

MIB, GIB = 1 << 20, 1 << 30
#: CUDA context, cuBLAS, and the workspaces of attention back ends (FlashInfer's alone is 394 MiB). The bound fits the
#: logs of vllm-project/vllm#23278 and #27508.
BESIDE = 1344 * MIB
#: Buffers of NCCL and of the custom all-reduce, with more than one GPU. The bound fits the log of
#: vllm-project/vllm#21348.
COMMUNICATION = 1280 * MIB
#: CUDA graphs: a share for each captured size, up to the most that vLLM captures by default. vLLM itself names 1 to 3
#: GiB in all; logs show 0.3 to 1.1 GiB.
GRAPHS, GRAPH, MOST_GRAPHS = 256 * MIB, 3 * MIB, 512
#: Bytes of the sampler for each sequence and entry of the vocabulary: logits, their sorted copy with indices, and
#: probabilities. The bound fits the logs of #23278 and #27508.
SAMPLER = 32
#: Most tokens of one image of the known models (Qwen3-VL, preprocessor_config.json); vLLM's profile uses such images.
IMAGE_TOKENS = 16384
#: Share of nvidia-smi's total that CUDA reports as total (H100: 79.10 GiB of 81559 MiB).
_USABLE = 0.993
_ACTIVATION = 2
#: Most GPUs of one model that a plan tries.
MOST_GPUS = 64
_KV_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


@dataclass(frozen=True)
class GpuKind:
    """A kind of GPU.

    :ivar memory_bytes: total memory as CUDA reports it, some 2 % less than its name says.
    :ivar compute_capability: as nvidia-smi prints it, C(9.0).
    """

    name: str
    memory_bytes: int
    compute_capability: str


def _kind(name: str, gib: float, capability: str) -> GpuKind:
    return GpuKind(name, int(gib * GIB), capability)


#: Total memory as in PyTorch's messages about memory ("has a total capacity of 79.10 GiB"); of the H100 with 94 GB, as
#: C(gpu_kind) computes it.
GPU_KINDS: Mapping[str, GpuKind] = {
    "v100-16": _kind("V100 16 GB", 15.77, "7.0"),
    "v100-32": _kind("V100 32 GB", 31.73, "7.0"),
    "a100-40": _kind("A100 40 GB", 39.39, "8.0"),
    "a100-80": _kind("A100 80 GB", 79.14, "8.0"),
    "l40s-48": _kind("L40S 48 GB", 44.39, "8.9"),
    "h100-80": _kind("H100 80 GB", 79.10, "9.0"),
    "h100-94": _kind("H100 94 GB", 92.9, "9.0"),
    "h200-141": _kind("H200 141 GB", 139.4, "9.0"),
}


def gpu_kind(name: str, memory_mib: int, compute_capability: str) -> GpuKind:
    """Describe a GPU by what nvidia-smi reports of it: its total memory, of which the driver keeps a part."""
    return GpuKind(name, int(memory_mib * MIB * _USABLE), compute_capability)


@dataclass(frozen=True)
class EngineMemorySettings:
    """vLLM's options that decide its memory.

    :ivar max_model_len: context of the longest request; None for the model's own.
    :ivar max_num_batched_tokens: None for vLLM's default, which depends on the GPU.
    :ivar quantization: the configured method. C(fp8) with a 16-bit checkpoint means that vLLM quantises it.
    """

    max_model_len: int | None = None
    max_num_seqs: int = 16
    gpu_memory_utilization: float = 0.9
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    quantization: str = ""
    enforce_eager: bool = False
    hybrid_kv_cache: bool = True


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of the fullest GPU in bytes, and the contexts that fit.

    :ivar budget: what vLLM may take.
    :ivar cache: what is left for the key-value cache; negative if the rest does not fit.
    :ivar request: cache of one request with the full context.
    :ivar concurrency: requests with the full context that fit at a time; further ones wait.
    :ivar tokens: vLLM's own number of tokens in the cache.
    :ivar block: bytes of a block of the cache; a request takes whole blocks.
    :ivar largest_context: longest context of one request that fits, up to the model's own.
    :ivar largest_shared_context: the same for C(max_num_seqs) requests at a time.
    """

    gpu: str
    tensor_parallel: int
    context: int
    sequences: int
    total: int
    budget: int
    weights: int
    activations: int
    graphs: int
    beside: int
    cache: int
    request: int
    concurrency: float
    tokens: int
    largest_context: int
    largest_shared_context: int
    model_context: int
    block: int

    @property
    def fits(self) -> bool:
        """Return whether vLLM starts: one request with the full context fits."""
        return self.cache >= self.request and self.context <= self.model_context

    def as_dict(self) -> dict[str, Any]:
        """Return all values, and whether the plan fits, for JSON."""
        return {**asdict(self), "fits": self.fits}

    def sentence(self) -> str:
        """Say in one sentence what fits or what does not."""
        where = f"{self.tensor_parallel} x {self.gpu}"
        if self.context > self.model_context:
            return (
                f"A context of {self.context:,} tokens exceeds the model's {self.model_context:,}: "
                f"the longest that the model and {where} accept is {self.largest_context:,}."
            )
        need = self.weights + self.activations + self.graphs + self.beside
        if self.cache <= 0:
            return (
                f"{where} are too small: weights and buffers take {size_text(need)} of {size_text(self.budget)} "
                f"on each GPU, and nothing is left for a context."
            )
        if not self.fits:
            return (
                f"A context of {self.context:,} tokens needs {size_text(self.request)} of cache on each GPU, and "
                f"{size_text(self.cache)} are left on {where}: the longest that fits is {self.largest_context:,}."
            )
        return (
            f"A context of {self.context:,} tokens fits on {where}: {size_text(self.cache)} of cache on each GPU, "
            f"{self.concurrency:.1f} requests of full length at a time."
        )


def plan(
    model: ModelShape,
    weights: WeightBytes | int,
    gpus: GpuKind,
    tensor_parallel: int,
    settings: EngineMemorySettings = EngineMemorySettings(),
) -> MemoryPlan:
    """Plan a model on so many GPUs of a kind.

    :param weights: bytes by group; a plain number counts as matrices that are split.
    :raises InvalidInputError: if the GPUs do not divide the heads, or a setting is out of range.
    """
    check_division(model, tensor_parallel)
    _check(settings)
    if isinstance(weights, int):
        weights = WeightBytes(linear=weights)
    if settings.quantization == "fp8" and not model.quantization:
        weights = weights.halved()
    context = settings.max_model_len or model.context
    batched = batched_tokens(gpus, settings)
    cache_settings = CacheSettings(tensor_parallel, _element(settings), batched, hybrid=settings.hybrid_kv_cache)
    cache = KvCache(model, cache_settings)
    budget = int(gpus.memory_bytes * settings.gpu_memory_utilization)
    parts = {
        "weights": weights.per_gpu(model, tensor_parallel) * _widening(model, settings),
        "activations": activation_bytes(model, tensor_parallel, batched, settings),
        "graphs": graph_bytes(settings),
        "beside": BESIDE + (COMMUNICATION if tensor_parallel > 1 else 0),
    }
    left = budget - sum(parts.values())
    return MemoryPlan(
        gpu=gpus.name,
        tensor_parallel=tensor_parallel,
        context=context,
        sequences=settings.max_num_seqs,
        total=gpus.memory_bytes,
        budget=budget,
        cache=left,
        request=cache.request_bytes(context),
        concurrency=cache.concurrency(left, context),
        tokens=cache.tokens(left, context),
        largest_context=cache.largest_context(left, model.context),
        largest_shared_context=cache.largest_context(left, model.context, settings.max_num_seqs),
        model_context=model.context,
        block=cache.block_bytes,
        **parts,
    )


def check_division(model: ModelShape, tensor_parallel: int) -> None:
    """Refuse a number of GPUs that vLLM refuses, because it does not divide the heads."""
    problem = rules.tensor_parallel_problem(tensor_parallel, model.heads, model.split_heads)
    if problem is not None:
        raise InvalidInputError.plain(*problem)


def possible_sizes(model: ModelShape) -> list[int]:
    """List the numbers of GPUs over which vLLM can split the model, up to MOST_GPUS."""
    sizes = rules.tensor_parallel_sizes(model.heads, model.split_heads)
    return [number for number in sizes if number <= MOST_GPUS]


def batched_tokens(gpus: GpuKind, settings: EngineMemorySettings) -> int:
    """Return the most tokens of a step: the configured number, or vLLM's default for the GPU."""
    if settings.max_num_batched_tokens is not None:
        return settings.max_num_batched_tokens
    if gpus.memory_bytes >= 160 * GIB:
        return 16384
    return 8192 if gpus.memory_bytes >= 70 * GIB and "a100" not in gpus.name.lower() else 2048


def activation_bytes(model: ModelShape, tensor_parallel: int, tokens: int, settings: EngineMemorySettings) -> int:
    """Bound the peak of one step of so many tokens, as vLLM's profile runs it.

    The largest of the layers' steps counts, with the workspaces of vLLM's Triton and Marlin experts
    (C(workspace_shapes)); then the sampler's, or the image encoder's.
    """
    width, heads = model.width, -(-model.heads // tensor_parallel)
    residual = 4 * tokens * width
    head = max(model.head_dim, 256 if model.latent else 0)
    attention = 4 * tokens * heads * head + tokens * heads * model.latent
    dense = 3 * tokens * -(-model.inner // tensor_parallel)
    experts = 0
    if model.experts:
        inner = -(-model.expert_inner // tensor_parallel)
        experts = (
            tokens * model.experts_per_token * (max(inner, width) + max(2 * inner, width) + width) + tokens * width
        )
    step = (residual + max(attention, dense, experts)) * (4 if settings.dtype == "float32" else _ACTIVATION)
    sampler = settings.max_num_seqs * model.vocabulary * SAMPLER
    if model.vision is None:
        return step + sampler
    images = max(tokens, IMAGE_TOKENS)
    encoder = images * model.vision.merge * (6 * model.vision.width + model.vision.inner) * _ACTIVATION
    return max(step + sampler, encoder) + images * width * _ACTIVATION


def graph_bytes(settings: EngineMemorySettings) -> int:
    """Bound the CUDA graphs. vLLM captures sizes up to twice the number of sequences."""
    return 0 if settings.enforce_eager else GRAPHS + GRAPH * min(2 * settings.max_num_seqs, MOST_GRAPHS)


def _widening(model: ModelShape, settings: EngineMemorySettings) -> int:
    """Return 2 where vLLM widens a checkpoint of 16 bits to 32."""
    return 2 if settings.dtype == "float32" and model.dtype != "float32" and not model.quantization else 1


def _element(settings: EngineMemorySettings) -> int:
    return _KV_BYTES.get(settings.kv_cache_dtype, 4 if settings.dtype == "float32" else 2)


def _check(settings: EngineMemorySettings) -> None:
    """Refuse settings outside vLLM's ranges."""
    ranges = (
        ("gpu_memory_utilization", settings.gpu_memory_utilization, 0.01, 1),
        ("max_num_seqs", settings.max_num_seqs, 1, 65536),
        ("max_model_len", settings.max_model_len or 1, 1, 1 << 31),
        ("max_num_batched_tokens", settings.max_num_batched_tokens or 1, 1, 1 << 20),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise InvalidInputError(f"{name} from {least} to {most}", str(value), "correct it in the configuration")
