# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An upper bound on tokens per second: the bytes that one token moves, over the memory's bandwidth.

Every token reads all weights that take part once, and the cache up to its place. Devices work one after the
other, so their times add up. What the bound leaves out (computing, waiting for the network at each hop,
de-quantising, which Volta does without help) decides between two quantisations; a benchmark measures it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..models.metadata import LayerMetadata, ModelMetadata
from .kv_cache import CacheSettings, cache_bytes, state_bytes

#: Bytes per second of GPUs' memory, from their makers' data sheets, by a part of the name.
BANDWIDTH: Mapping[str, float] = {
    "V100S": 1134e9,
    "V100": 900e9,
    "A100": 1555e9,
    "H100": 2039e9,
    "P100": 732e9,
    "T4": 320e9,
    "L40S": 864e9,
    "RTX 3090": 936e9,
    "RTX 4090": 1008e9,
}


def bandwidth_of(name: str) -> float:
    """The bandwidth of a GPU by its name, 0 where it is not known."""
    return next((rate for part, rate in BANDWIDTH.items() if part in name), 0.0)


@dataclass(frozen=True)
class Share:
    """What one device reads for each token.

    :param bandwidth: bytes per second, 0 where it is not known.
    """

    weights: int
    cache: int
    bandwidth: float


def active_bytes(metadata: ModelMetadata, layer: LayerMetadata) -> int:
    """Bytes of a layer's weights that one token reads; of experts only those that are asked."""
    if not layer.expert_inner or not metadata.experts:
        return layer.weights
    experts = layer.expert_weights
    if not experts:
        # Metadata from before experts were counted: as many weights, of the model's average size.
        matrices = 3 * metadata.experts * layer.expert_inner * metadata.width
        experts = min(layer.weights, int(matrices * metadata.bits_per_weight / 8))
    return layer.weights - experts + experts * layer.experts_used // metadata.experts


def share(
    metadata: ModelMetadata,
    layers: Sequence[LayerMetadata],
    has_output: bool,
    settings: CacheSettings,
    bandwidth: float,
) -> Share:
    """What a device with these layers reads, with the context full."""
    weights = sum(active_bytes(metadata, layer) for layer in layers) + (metadata.output if has_output else 0)
    cache = sum(cache_bytes(metadata, layer, settings) + state_bytes(layer, settings) for layer in layers)
    return Share(weights, cache // settings.slots, bandwidth)


def bound(shares: Sequence[Share], is_full: bool) -> float:
    """Tokens per second that cannot be passed, 0 where a bandwidth is not known.

    :param is_full: whether the context is full, or still empty.
    """
    if not shares or any(part.bandwidth <= 0 for part in shares):
        return 0.0
    return 1 / sum((part.weights + (part.cache if is_full else 0)) / part.bandwidth for part in shares)
