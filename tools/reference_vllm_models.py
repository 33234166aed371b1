# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of the page about vLLM's models: their facts, and what fits on which GPUs."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue, gpu_support, memory_plan
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.catalogue import PublishedModel
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.memory_plan import (
    GPU_KINDS,
    EngineMemorySettings,
    GpuKind,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import remedies
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.kv_cache import CacheSettings, KvCache

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "vllm-models.md"


def page() -> str:
    """Return the page, with the tables between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in _tables().items():
        begin, end = f"<!-- {name}: make reference -->\n", f"<!-- end of {name} -->"
        before, _begin, rest = text.partition(begin)
        text = before + begin + lines + "\n" + end + rest.partition(end)[2]
    return text


def _tables() -> dict[str, str]:
    models = catalogue.MODELS.values()
    return {
        "models": _table(
            ("model", "id", "GPUs", "weights (GB)", "of them loaded", "type", "context", "images", "licence"),
            [_facts(model) for model in models],
        ),
        "plans": _table(
            (
                "model",
                "GPUs",
                "weights",
                "buffers",
                "cache",
                "documented context",
                "longest context",
                "at 32,768 tokens",
            ),
            [_plan(model) for model in models],
        ),
        "instead": "\n".join(line for model in models for line in _instead(model)),
        "kinds": _table(
            ("model", "GPUs", *(kind.name for kind in GPU_KINDS.values())), [_by_kind(each) for each in models]
        ),
        "parts": _table(("part", "exact or bound", "source"), _parts()),
        "gpus": _table(
            ("kind", "compute capability", "memory as CUDA reports it (GiB)"),
            [(kind.name, kind.compute_capability, _gib(kind.memory_bytes)) for kind in GPU_KINDS.values()],
        ),
        "quantizations": _table(
            ("weights", "lowest compute capability"),
            [(name, f"{major}.{minor}") for name, (major, minor) in sorted(gpu_support.QUANTIZATIONS.items())],
        ),
    }


def _parts() -> list[tuple[str, ...]]:
    """Describe each part of the memory, with the constants of its bound."""
    return [
        (
            "weights",
            "exact to 1 %: every tensor, split or copied as vLLM does it; MXFP4 is padded to multiples of 256 and 128",
            "safetensors headers",
        ),
        (
            "cache of a request",
            "exact: blocks of 16 tokens (64 with latent attention), by kind of layer",
            "vLLM 0.33, `v1/kv_cache_interface.py`, `v1/core/kv_cache_planning.py`",
        ),
        (
            "peak of a step",
            f"bound: the largest layer for `--max-num-batched-tokens`, and {memory_plan.SAMPLER} bytes of the sampler "
            "for each sequence and entry of the vocabulary; or an image of "
            f"{memory_plan.IMAGE_TOKENS:,} tokens in the encoder",
            f"vLLM 0.33, `workspace_shapes`; logs of {_issue(23278)} and {_issue(27508)}",
        ),
        (
            "CUDA graphs",
            f"bound: {memory_plan.GRAPHS >> 20} MiB, and {memory_plan.GRAPH >> 20} MiB for each captured size (twice "
            f"`max_num_seqs`, at most {memory_plan.MOST_GRAPHS})",
            'vLLM\'s own "1 to 3 GiB"; logs with 0.3 to 1.1 GiB',
        ),
        (
            "CUDA and attention back ends",
            f"bound: {memory_plan.BESIDE >> 20} MiB",
            f"logs of {_issue(23278)} and {_issue(27508)}",
        ),
        (
            "NCCL, with several GPUs",
            f"bound: {memory_plan.COMMUNICATION >> 20} MiB",
            f"log of {_issue(21348)}",
        ),
    ]


def _issue(number: int) -> str:
    return f"[#{number}](https://github.com/vllm-project/vllm/issues/{number})"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def _facts(model: PublishedModel) -> tuple[str, ...]:
    nodes = f" on {model.nodes} nodes" if model.nodes > 1 else ""
    return (
        f"`{model.key}`",
        f"`{model.huggingface_id}`",
        f"{model.gpus}{nodes}",
        _gigabytes(model.weights.total) + ("*" if model.computed else ""),
        _gigabytes(model.weights.loaded),
        model.quantization or model.shape.dtype,
        f"{model.shape.context:,}",
        "yes" if model.vision else "no",
        model.licence + (" (gated)" if model.gate else ""),
    )


def _plan(model: PublishedModel) -> tuple[str, ...]:
    kind = GPU_KINDS["h100-80"]
    wanted = EngineMemorySettings(max_model_len=model.documented_context)
    found = memory_plan.plan(model.shape, model.weights, kind, model.gpus, wanted)
    usual = memory_plan.plan(model.shape, model.weights, kind, model.gpus, EngineMemorySettings(max_model_len=32768))
    cache = KvCache(model.shape, CacheSettings(model.gpus))
    return (
        f"`{model.key}`",
        str(model.gpus),
        _gib(found.weights),
        _gib(found.activations + found.graphs + found.beside),
        _gib(found.cache) if found.cache > 0 else "none",
        f"{model.documented_context:,} ({_gib(cache.request_bytes(model.documented_context))}): "
        + ("fits" if found.fits else "**does not fit**"),
        f"{found.largest_context:,}" if found.largest_context else "none",
        f"{usual.concurrency:.1f} requests at a time" if usual.fits else "does not fit",
    )


def _instead(model: PublishedModel) -> list[str]:
    settings = EngineMemorySettings(max_model_len=model.documented_context)
    found = remedies.find(model.shape, model.weights, GPU_KINDS["h100-80"], model.gpus, settings, model.smaller)
    return [f"- `{model.key}`: {' '.join(found)}"] if found else []


def _by_kind(model: PublishedModel) -> tuple[str, ...]:
    return (f"`{model.key}`", str(model.gpus), *(_longest(model, kind) for kind in GPU_KINDS.values()))


def _longest(model: PublishedModel, kind: GpuKind) -> str:
    if gpu_support.problems(model.shape, kind.compute_capability):
        return "-"
    found = memory_plan.plan(model.shape, model.weights, kind, model.gpus, EngineMemorySettings(max_model_len=1))
    return f"{found.largest_context:,}" if found.largest_context >= 1024 else "-"


def _gigabytes(size: int) -> str:
    return f"{size / 10**9:.1f}"


def _gib(size: int) -> str:
    return f"{size / memory_plan.GIB:.1f}"
