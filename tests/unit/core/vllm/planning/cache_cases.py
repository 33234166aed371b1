# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of key-value caches that the plan and vLLM itself compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.kv_cache import (
    CacheSettings,
    KvCache,
    heads_per_gpu,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.model_config import (
    AttentionLayers,
    ModelShape,
)

CONTEXTS = (1, 17, 1000, 8192, 30000, 131072, 1048576)
_BASE = catalogue.MODELS["glm-4.7"].shape
#: Models of the catalogue, and patterns of layers that none of them has.
SHAPES = {
    **{key: model.shape for key, model in catalogue.MODELS.items()},
    "13 full, 12 sliding": replace(_BASE, attention=(AttentionLayers("full", 13), AttentionLayers("sliding", 12, 128))),
    "5 full, 26 sliding": replace(_BASE, attention=(AttentionLayers("full", 5), AttentionLayers("sliding", 26, 1024))),
    "10 full, 15 sliding": replace(_BASE, attention=(AttentionLayers("full", 10), AttentionLayers("sliding", 15, 512))),
    "all sliding": replace(_BASE, attention=(AttentionLayers("sliding", 32, 4096),)),
    "all chunked": replace(_BASE, attention=(AttentionLayers("chunked", 32, 8192),)),
}


@dataclass(frozen=True)
class Case:
    """A cache with its settings."""

    name: str
    shape: ModelShape
    settings: CacheSettings

    def question(self) -> dict[str, Any]:
        """Describe the cache for the real vLLM (tests/vllm/cache_rules.py)."""
        shape, settings = self.shape, self.settings
        heads = heads_per_gpu(shape, settings.tensor_parallel)
        width = shape.latent or shape.head_dim
        return {
            "layers": [
                [layers.kind, layers.count, layers.window, heads, width, settings.element] for layers in shape.attention
            ],
            "hybrid": settings.hybrid,
            "in_flight": settings.batched_tokens * settings.steps,
            "contexts": list(CONTEXTS),
        }

    def answers(self) -> list[list[int]]:
        """Compute the bytes of a request and of a block for each context."""
        cache = KvCache(self.shape, self.settings)
        return [[cache.request_bytes(context), cache.block_bytes] for context in CONTEXTS]


def cases() -> list[Case]:
    """List all cases, in an order that stays."""
    return [
        Case(name, shape, CacheSettings(parallel, element, tokens, steps, hybrid))
        for name, shape in sorted(SHAPES.items())
        for parallel in (1, 2, 4, 8)
        for element in (1, 2)
        for tokens, steps in ((8192, 2), (2048, 1), (1000, 2))
        for hybrid in (True, False)
    ]
