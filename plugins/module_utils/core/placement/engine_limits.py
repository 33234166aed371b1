# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what a release of the engine refuses to load, whatever the memory.

Conditions are those of llama_init_from_model in src/llama-context.cpp, and of the table of architectures.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..models.engine_architectures import ARCHITECTURES
from ..models.metadata import ModelMetadata
from .kv_cache import CACHE_TYPES, CacheSettings

_OLD = "b7836"
#: Flash attention is always off for this architecture.
_NO_FLASH = "grok"


def refusals(metadata: ModelMetadata, cache: CacheSettings, flash: bool, release: str) -> Iterator[str]:
    """Yield why a release refuses a model with these settings, as sentences.

    :param release: a pinned release; for another one, only what all releases have in common is checked.
    """
    name = metadata.architecture
    known = ARCHITECTURES.get(release)
    if known is not None and name not in known:
        others = [other for other, architectures in ARCHITECTURES.items() if name in architectures]
        remedy = f"switch to {' or '.join(others)}" if others else "choose another model, or a newer release"
        yield f"expected an architecture that release {release} knows, found {name} (general.architecture): {remedy}."
    yield from _cache_refusals(metadata, cache, flash and name != _NO_FLASH, release)


def _cache_refusals(metadata: ModelMetadata, cache: CacheSettings, flash: bool, release: str) -> Iterator[str]:
    if not any(layer.kv_heads for layer in metadata.layers):
        return
    if CACHE_TYPES[cache.type_v][0] > 1 and not flash:
        yield (
            f"expected flash attention for a quantised cache of values, found cache_type_v {cache.type_v} with flash "
            f"attention off: set flash_attention to on, or cache_type_v to f16."
        )
    if release == _OLD:
        return
    if metadata.latent and metadata.latent["compressed"] and cache.type_k != cache.type_v:
        yield (
            f"expected one type for keys and values of {metadata.architecture}, which has a latent cache, found "
            f"cache_type_k {cache.type_k} and cache_type_v {cache.type_v}: make them equal."
        )
    if flash:
        yield from _block_refusals(metadata, cache)


def _block_refusals(metadata: ModelMetadata, cache: CacheSettings) -> Iterator[str]:
    for what, kind, sizes in (
        ("k", cache.type_k, {layer.key for layer in metadata.layers if layer.kv_heads}),
        ("v", cache.type_v, {layer.value for layer in metadata.layers if layer.kv_heads}),
    ):
        block = CACHE_TYPES[kind][0]
        odd = [size for size in sorted(sizes) if size % block]
        if odd:
            yield (
                f"expected heads in whole blocks of {block} elements for cache_type_{what} {kind}, found heads of "
                f"{odd[0]}: set cache_type_{what} to f16."
            )
