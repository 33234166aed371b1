# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find changes with which a model fits. Each is tried with a plan, and reported with the context that it allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..environment import capability as parse_capability
from ..memory_plan import EngineMemorySettings, GpuKind, MemoryPlan, plan, possible_sizes
from .model_config import ModelShape
from .weights import WeightBytes

#: A shorter context is no remedy.
_SHORTEST = 1024
_HIGHEST_UTILISATION = 0.95
_FEWER_TOKENS, _FEWER_SEQUENCES = 2048, 16
_FP8_WEIGHTS, _FP8_CACHE = (8, 0), (8, 9)


def find(
    model: ModelShape,
    weights: WeightBytes,
    gpus: GpuKind,
    tensor_parallel: int,
    settings: EngineMemorySettings,
    smaller: tuple[str, WeightBytes] | None = None,
) -> list[str]:
    """List sentences about changes with which the model fits, or fits with a shorter context; nothing if it fits.

    :param smaller: id and bytes of a published checkpoint with smaller weights.
    """
    base = plan(model, weights, gpus, tensor_parallel, settings)
    if base.fits:
        return []
    wanted = replace(settings, max_model_len=min(base.context, model.context))
    found = [f"{context(base)} fits as it is."] if base.largest_context >= _SHORTEST else []
    changes = [*_settings(gpus, wanted), *_weights(model, weights, gpus, wanted, smaller)]
    for what, other_weights, other in changes:
        found += _result(what, base, plan(model, other_weights or weights, gpus, tensor_parallel, other))
    return found + list(_more_gpus(model, weights, gpus, tensor_parallel, wanted))


def context(found: MemoryPlan) -> str:
    """Name the longest context of a plan."""
    return f"A context of {found.largest_context:,} tokens"


def _settings(
    gpus: GpuKind, settings: EngineMemorySettings
) -> Iterator[tuple[str, WeightBytes | None, EngineMemorySettings]]:
    if parse_capability(gpus.compute_capability) >= _FP8_CACHE and settings.kv_cache_dtype == "auto":
        yield "with a cache in FP8 (--kv-cache-dtype fp8)", None, replace(settings, kv_cache_dtype="fp8")
    if settings.gpu_memory_utilization < _HIGHEST_UTILISATION:
        yield (
            f"with gpu_memory_utilization {_HIGHEST_UTILISATION}",
            None,
            replace(settings, gpu_memory_utilization=_HIGHEST_UTILISATION),
        )
    if settings.max_num_seqs > _FEWER_SEQUENCES:
        yield f"with max_num_seqs {_FEWER_SEQUENCES}", None, replace(settings, max_num_seqs=_FEWER_SEQUENCES)
    yield (
        f"with --max-num-batched-tokens {_FEWER_TOKENS}",
        None,
        replace(settings, max_num_batched_tokens=_FEWER_TOKENS),
    )


def _weights(
    model: ModelShape,
    weights: WeightBytes,
    gpus: GpuKind,
    settings: EngineMemorySettings,
    smaller: tuple[str, WeightBytes] | None,
) -> Iterator[tuple[str, WeightBytes | None, EngineMemorySettings]]:
    if model.quantization or settings.quantization or parse_capability(gpus.compute_capability) < _FP8_WEIGHTS:
        return
    if smaller is not None:
        yield f"with the checkpoint {smaller[0]}", smaller[1], settings
    yield "with quantization: fp8", None, replace(settings, quantization="fp8")


def _result(what: str, base: MemoryPlan, changed: MemoryPlan) -> Iterator[str]:
    """Report a change that makes the whole context fit, or a much longer one."""
    if changed.fits:
        yield f"The whole context of {changed.context:,} tokens fits {what}."
    elif changed.largest_context >= max(_SHORTEST, base.largest_context * 5 // 4):
        yield f"{context(changed)} fits {what}."


def _more_gpus(
    model: ModelShape,
    weights: WeightBytes,
    gpus: GpuKind,
    tensor_parallel: int,
    settings: EngineMemorySettings,
) -> Iterator[str]:
    """Find the fewest GPUs that hold the model, and the fewest that hold the whole context."""
    caches = [("", settings)]
    if parse_capability(gpus.compute_capability) >= _FP8_CACHE and settings.kv_cache_dtype == "auto":
        caches.append((" with a cache in FP8", replace(settings, kv_cache_dtype="fp8")))
    started = False
    fewest = 0
    for number in possible_sizes(model):
        if number <= tensor_parallel:
            continue
        for what, changed in caches:
            found = plan(model, weights, gpus, number, changed)
            if found.fits and (fewest == 0 or not what):
                yield f"The whole context of {found.context:,} tokens fits on {number} x {gpus.name}{what}."
                fewest = number
                if not what:
                    return
            elif not what and not started and found.largest_context >= _SHORTEST:
                yield f"{context(found)} fits on {number} x {gpus.name}."
            started = started or found.largest_context >= _SHORTEST
