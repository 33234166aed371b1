# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find remedies for a model that does not fit. Each is tried with a plan, and reported only if it works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..models.metadata import ModelMetadata
from .context_search import largest_context
from .kv_cache import BYTES_PER_ELEMENT
from .planner import PlacementGroup, PlacementHost, Planner

#: Bits per weight of common quantisations, as published for a model of 8 B parameters.
BITS: Mapping[str, float] = {
    "Q8_0": 8.5,
    "Q6_K": 6.56,
    "Q5_K_M": 5.7,
    "Q5_K_S": 5.57,
    "Q4_K_M": 4.89,
    "Q4_K_S": 4.67,
    "IQ4_XS": 4.46,
    "Q3_K_M": 4.0,
    "Q2_K": 3.16,
}
_SMALLER_CACHES = ("q8_0", "q4_0")
_SMALLER_BATCHES = (256, 128)
#: What is said if no remedy works.
NONE = (
    "None is known: no context, type of cache, micro-batch, setting of the head, quantisation, smaller group or number "
    "of further nodes makes it fit."
)


def scaled(metadata: ModelMetadata, bits: float) -> ModelMetadata:
    """Scale a model to another number of bits per weight."""
    factor = bits / metadata.bits_per_weight

    def less(size: int) -> int:
        return int(size * factor)

    layers = tuple(
        replace(layer, weights=less(layer.weights), weights_cuda=less(layer.weights_cuda)) for layer in metadata.layers
    )
    return replace(
        metadata,
        layers=layers,
        file_size=less(metadata.file_size),
        output=less(metadata.output),
        output_cuda=less(metadata.output_cuda),
        largest=less(metadata.largest),
    )


def find(planner: Planner, others: Mapping[str, ModelMetadata]) -> list[str]:
    """List sentences about changes with which the model fits, cheapest first.

    :param others: other entries of the same model by key, of which smaller ones are tried.
    """
    found = [
        *_smaller_caches(planner),
        *_smaller_batches(planner),
        *_head_settings(planner),
        *_without_hosts(planner),
        *_quantisations(planner, others),
        *_nodes(planner),
    ]
    return found or [NONE]


def find_alone(planner: Planner) -> list[str]:
    """List the remedies for a model on one host, which gets no further nodes."""
    found = [*_smaller_caches(planner), *_smaller_batches(planner), *_head_settings(planner)]
    return [*found, *_quantisations(planner, {})] or [NONE]


def _smaller_caches(planner: Planner) -> Iterator[str]:
    context = largest_context(planner)
    if context:
        yield f"A context of {context} for each slot fits."
    for name in _SMALLER_CACHES:
        if not planner.request.flash or BYTES_PER_ELEMENT[name] >= BYTES_PER_ELEMENT[planner.request.cache.type_k]:
            continue
        if planner.with_cache(type_k=name, type_v=name).fits():
            yield f"Cache types {name} for keys and values (cache_type_k, cache_type_v) fit."
            return


def _smaller_batches(planner: Planner) -> Iterator[str]:
    for tokens in _SMALLER_BATCHES:
        if tokens < planner.request.cache.tokens and planner.with_cache(ubatch=tokens).fits():
            yield f"A micro-batch of {tokens} tokens (ubatch) fits; prompts are read more slowly."
            return


def _quantisations(planner: Planner, others: Mapping[str, ModelMetadata]) -> Iterator[str]:
    metadata = planner.metadata
    for key, other in sorted(others.items(), key=lambda item: -item[1].file_size):
        if other.file_size >= metadata.file_size:
            continue
        if Planner(other, planner.request, planner.group, planner.rules).fits():
            yield f"The entry {key} of herd_models fits ({other.bits_per_weight:.2f} bits a weight)."
            return
    for name, bits in BITS.items():
        if bits >= metadata.bits_per_weight:
            continue
        if Planner(scaled(metadata, bits), planner.request, planner.group, planner.rules).fits():
            yield (
                f"The quantisation {name} (about {bits} bits a weight in place of {metadata.bits_per_weight:.2f}) fits."
            )
            return


def _head_settings(planner: Planner) -> Iterator[str]:
    """Try settings that reduce the memory of the head's process."""
    request = planner.request
    for words, change in (
        ("A prompt cache of 0 (cache_ram_mib)", {"cache_ram_mib": 0}),
        ("load_mode: mmap", {"load_mode": "mmap"}),
        ("load_mode: mmap with a prompt cache of 0 (cache_ram_mib)", {"cache_ram_mib": 0, "load_mode": "mmap"}),
    ):
        other = replace(request, **change)
        if other != request and Planner(planner.metadata, other, planner.group, planner.rules).fits():
            yield f"{words} fits."
            return
    slots = request.cache.slots
    if slots > 1 and planner.with_cache(slots=1).fits():
        for count in range(slots - 1, 0, -1):
            if planner.with_cache(slots=count).fits():
                yield f"{count} in place of {slots} slots fit."
                return


def _without_hosts(planner: Planner) -> Iterator[str]:
    """Try the group without one of its hosts: each device of a host has to hold a layer."""
    group = planner.group
    for host in group.holders if len(group.holders) > 1 else ():
        is_head = host is group.head
        workers = group.workers if is_head else tuple(worker for worker in group.workers if worker is not host)
        head = replace(group.head, devices=()) if is_head else group.head
        if Planner(planner.metadata, planner.request, PlacementGroup(workers, head), planner.rules).fits():
            how = "head_server_use_own_gpus: false" if is_head else "take it out of the group rpc_worker"
            yield f"Without the devices of {host.name} it fits: {how}."


def _nodes(planner: Planner) -> Iterator[str]:
    """Find the least number of further hosts like the largest one of the group."""
    hosts = planner.group.holders
    pattern = max(hosts, key=lambda host: sum(memory.total for memory in host.devices))
    fresh = tuple(replace(memory, free=memory.total) for memory in pattern.devices)
    each = sum(max(0, memory.free - memory.reserve) for memory in fresh)
    present = sum(len(host.devices) for host in hosts)
    most = (len(planner.metadata.layers) - present) // len(fresh)
    # Fewer cannot hold the weights and caches alone.
    least = max(1, -(-(planner.least_total() - planner.room) // each)) if each else most + 1
    buffers: dict[tuple[Any, ...], int] = {}
    for count in range(least, most + 1):
        more = tuple(PlacementHost(f"another-{number}", fresh, f"another-{number}:0") for number in range(count))
        group = PlacementGroup((*planner.group.workers, *more), planner.group.head)
        wider = Planner(planner.metadata, planner.request, group, planner.rules)
        # All groups of several devices have the same buffers.
        wider.buffers = buffers
        if wider.fits():
            what = "One more node" if count == 1 else f"{count} more nodes"
            yield f"{what} like {pattern.name} would be enough."
            return
