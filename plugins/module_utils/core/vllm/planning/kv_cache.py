# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute vLLM's key-value cache on one GPU: its blocks, and how many a request takes.

The rules follow vLLM 0.33, C(v1/kv_cache_interface.py) and C(v1/core/kv_cache_planning.py). Layers of one kind form
groups of equal size. A block holds the tokens of one group. All groups take their blocks from one pool, so a request
takes the sum. A sliding or chunked layer keeps its window and the tokens that are being computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .model_config import CHUNKED, FULL, SLIDING, AttentionLayers, ModelShape

#: Tokens of a block. FlashMLA, the back end of latent attention on Hopper, has larger blocks than the others.
BLOCK, LATENT_BLOCK = 16, 64


@dataclass(frozen=True)
class CacheSettings:
    """What decides the cache beside the model.

    :ivar element: bytes of an element: 2, or 1 for FP8, or 4 for float32.
    :ivar batched_tokens: most tokens of one step (C(--max-num-batched-tokens)).
    :ivar steps: steps that are computed at a time: 2 with asynchronous scheduling, vLLM's default.
    :ivar hybrid: whether the sliding and chunked layers of a model with several kinds keep only their window. Otherwise
        each layer keeps all tokens (C(--disable-hybrid-kv-cache-manager)).
    """

    tensor_parallel: int = 1
    element: int = 2
    batched_tokens: int = 8192
    steps: int = 2
    hybrid: bool = True


@dataclass(frozen=True)
class CacheGroup:
    """Layers with blocks of their own. C(copies) groups of C(layers) layers have the same kind and window."""

    kind: str
    copies: int
    layers: int
    window: int


class KvCache:
    """The cache of a model on one GPU."""

    def __init__(self, shape: ModelShape, settings: CacheSettings) -> None:
        self._settings = settings
        self.block = LATENT_BLOCK if shape.latent else BLOCK
        is_plain = settings.hybrid or len(shape.attention) == 1
        layers = shape.attention if is_plain else (AttentionLayers(FULL, shape.layers),)
        self.groups = _groups(layers)
        #: Bytes of a token in one layer.
        self.token = _token_bytes(shape, settings)
        #: Bytes of a block of the pool.
        self.block_bytes = self.groups[0].layers * self.block * self.token

    def blocks(self, context: int) -> int:
        """Count the blocks of one request with a context of so many tokens."""
        return sum(group.copies * self._group_blocks(group, context) for group in self.groups)

    def request_bytes(self, context: int) -> int:
        """Compute the bytes of one request with a context of so many tokens."""
        return self.blocks(context) * self.block_bytes

    def concurrency(self, available: int, context: int) -> float:
        """Compute how many requests of full length fit into so many bytes, as vLLM logs it."""
        return max(0, available // self.block_bytes) / self.blocks(context)

    def tokens(self, available: int, context: int) -> int:
        """Compute the tokens that fit into so many bytes, as vLLM logs them: they depend on the context."""
        return int(self.concurrency(available, context) * context)

    def largest_context(self, available: int, most: int, requests: int = 1) -> int:
        """Find the largest context with which so many requests fit; 0 if none does."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if requests * self.request_bytes(middle) <= available:
                low = middle
            else:
                high = middle - 1
        return low

    def _group_blocks(self, group: CacheGroup, context: int) -> int:
        in_flight = self._settings.steps * self._settings.batched_tokens
        if group.kind == CHUNKED:
            return _blocks(min(group.window + in_flight, context), self.block)
        if group.kind == SLIDING:
            # One more block, since a window may begin within a block.
            return _blocks(min(group.window - 1 + in_flight, context), self.block) + 1
        return _blocks(context, self.block)


def heads_per_gpu(shape: ModelShape, tensor_parallel: int) -> int:
    """Count the key-value heads on a GPU: a head is copied where there are more GPUs than heads."""
    return max(1, -(-shape.kv_heads // tensor_parallel))


def _token_bytes(shape: ModelShape, settings: CacheSettings) -> int:
    if shape.latent:
        # The compressed keys and values are one vector, which each GPU keeps whole.
        return shape.latent * settings.element
    return 2 * heads_per_gpu(shape, settings.tensor_parallel) * shape.head_dim * settings.element


def _groups(attention: Sequence[AttentionLayers]) -> tuple[CacheGroup, ...]:
    """Divide the layers into groups of equal size, with padding where a kind does not fill its last group."""
    fewest, most = (choose(layers.count for layers in attention) for choose in (min, max))
    # vLLM prefers one padded group to many where the numbers are close.
    size = most if most < 1.5 * fewest else fewest
    return tuple(CacheGroup(each.kind, -(-each.count // size), size, each.window) for each in attention)


def _blocks(tokens: int, block: int) -> int:
    return -(-tokens // block)
