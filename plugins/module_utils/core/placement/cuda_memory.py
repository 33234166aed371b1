# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate the memory of a GPU that CUDA takes beside the engine's buffers. Derived from its source, not measured.

A process on a GPU has a context with the code of its kernels. The engine's pool (ggml_cuda_pool) keeps scratch memory
once it is used. Flash attention makes a half-precision copy of a layer's quantised keys and values and keeps partial
results. A micro-batch too large for the integer kernels makes a half-precision copy of its matrix. A pool without
virtual memory management keeps pieces of all sizes, so they are added up.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..models.metadata import LayerMetadata, ModelMetadata
from .kv_cache import CacheSettings, layer_cells

MIB = 1 << 20
#: Context and kernels of a process on a GPU.
CONTEXT = 450 * MIB
#: Handle and workspace of cuBLAS.
CUBLAS = 64 * MIB
#: Most rows for which GPUs without integer tensor cores, such as Volta, use the integer kernels.
INTEGER_ROWS = 64
#: Free share of an unused GPU's nominal memory; the driver keeps the rest.
FREE_SHARE = 0.985
#: Blocks of keys that flash attention processes in parallel, each with a partial result.
PARTIAL_RESULTS = 8
_HALF, _FLOAT = 2, 4


def overhead_bytes(metadata: ModelMetadata, layers: Sequence[LayerMetadata], settings: CacheSettings) -> int:
    """Compute all memory beside the buffers, with the most scratch memory that the pool keeps for these layers."""
    attention, partial = 0, 0
    for layer in layers:
        partial = max(partial, PARTIAL_RESULTS * settings.tokens * layer.heads * (layer.value or layer.key) * _FLOAT)
        cells = layer_cells(metadata, layer, settings) * settings.streams
        copied = 0
        for cache_type, width in ((settings.type_k, layer.key), (settings.type_v, layer.value)):
            if not cache_type.endswith(("f16", "f32")):
                copied += cells * layer.kv_heads * width * _HALF
        attention = max(attention, copied)
    matrix = 0
    if settings.tokens > INTEGER_ROWS and metadata.quantisation not in ("f16", "f32", "bf16"):
        inner = max((max(layer.inner, layer.expert_inner) for layer in layers), default=0)
        matrix = metadata.matrix * _HALF + settings.tokens * max(inner, metadata.width) * (_HALF + _FLOAT)
    return CONTEXT + CUBLAS + attention + partial + matrix
