# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute an upper bound on tokens per second: memory bandwidth over the bytes that one token reads.

A token reads all active weights once, and the cache up to its position. Devices work in turn, so their times
add up. The bound ignores computation, network latency and de-quantisation, for which Volta has no hardware support. A
benchmark measures these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..models.metadata import LayerMetadata, ModelMetadata
from .kv_cache import CacheSettings, cache_bytes, state_bytes

#: Memory bandwidth of GPUs in bytes per second from data sheets, by a part of the name.
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


#: Bandwidth of a GPU and of a processor's memory where it is unknown. Only the split of unequal devices follows it.
_USUAL_GPU, _USUAL_PROCESSOR = 500e9, 100e9


def usual_bandwidth(is_gpu: bool) -> float:
    """Return the bandwidth that a device without a known one is taken to have."""
    return _USUAL_GPU if is_gpu else _USUAL_PROCESSOR


def bandwidth_of(name: str) -> float:
    """Return the memory bandwidth of a GPU by its name; 0 if unknown."""
    return next((rate for part, rate in BANDWIDTH.items() if part in name), 0.0)


def active_bytes(metadata: ModelMetadata, layer: LayerMetadata) -> int:
    """Compute the bytes of a layer's weights that one token reads. Only the experts in use count."""
    if not layer.expert_inner or not metadata.experts:
        return layer.weights
    experts = layer.expert_weights
    return layer.weights - experts + experts * layer.experts_used // metadata.experts


def bytes_read(
    metadata: ModelMetadata, layers: Sequence[LayerMetadata], has_output: bool, settings: CacheSettings, is_full: bool
) -> int:
    """Compute the bytes that a device with these layers reads for a token.

    :param is_full: whether the context is full or empty.
    """
    weights = sum(active_bytes(metadata, layer) for layer in layers) + (metadata.output if has_output else 0)
    cache = sum(cache_bytes(metadata, layer, settings) + state_bytes(layer, settings) for layer in layers)
    return weights + (cache // settings.slots if is_full else 0)
