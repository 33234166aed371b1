# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the size of the key-value cache and of recurrent states as the engine allocates them.

The context is that of one slot. The engine rounds it up to whole blocks of cells and keeps one stream for each slot,
unless the cache is unified. A windowed layer gets only the window and one micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..engine.flags.values import CACHE_TYPES as NAMES
from ..errors import InvalidInputError
from ..models.gguf_types import TYPES, padded
from ..models.metadata import LayerMetadata, ModelMetadata

#: Tokens in a block of cells.
BLOCK = 256
_BY_NAME = {found.name: found for found in TYPES.values()}
#: Elements and bytes of a block, by type of cache.
CACHE_TYPES = {name: (_BY_NAME[name].block, _BY_NAME[name].bytes) for name in NAMES}
#: Bytes of one element, to compare types.
BYTES_PER_ELEMENT = {name: size / block for name, (block, size) in CACHE_TYPES.items()}

#: Architectures whose windows releases up to b7836 ignore.
_NEWER_WINDOWS = frozenset(("lfm2",))


def row_bytes(cache_type: str, elements: int) -> int:
    """Compute the bytes of one row of a cache."""
    if cache_type not in CACHE_TYPES:
        raise InvalidInputError(f"a cache type among {', '.join(CACHE_TYPES)}", repr(cache_type), "choose one of them")
    block, size = CACHE_TYPES[cache_type]
    return -(-elements // block) * size


@dataclass(frozen=True)
class CacheSettings:
    """Settings that determine the size of the caches.

    :param context: tokens of one slot.
    :param slots: concurrent requests.
    :param unified: whether the slots share one stream of cells.
    :param full_window: whether windowed layers keep the whole context.
    :param drafted: most tokens that speculation proposes for each slot; each is a row of the output.
    :param rollbacks: further recurrent states of each slot, one for each token that draft-mtp proposes.
    """

    context: int
    slots: int = 1
    type_k: str = "f16"
    type_v: str = "f16"
    ubatch: int = 512
    batch: int = 2048
    unified: bool = False
    full_window: bool = False
    drafted: int = 0
    rollbacks: int = 0

    @property
    def streams(self) -> int:
        return 1 if self.unified else self.slots

    @property
    def cells(self) -> int:
        """Cells of one stream."""
        if self.unified:
            return padded(self.context * self.slots, BLOCK)
        # The engine rounds the whole context up, divides it by the slots, and rounds again.
        return padded(padded(self.context * self.slots, BLOCK) // self.slots, BLOCK)

    @property
    def tokens(self) -> int:
        """Tokens of the largest micro-batch."""
        return min(self.ubatch, self.batch, self.context * self.slots)

    @property
    def outputs(self) -> int:
        """Rows of the output that the engine reserves."""
        return max(self.slots, min(self.batch, self.slots * (1 + self.drafted)))

    def window_cells(self, window: int) -> int:
        """Compute the cells of one stream of a windowed layer."""
        if not window or self.full_window:
            return self.cells
        return padded(min(self.cells, window * (self.slots if self.unified else 1) + self.tokens), BLOCK)


def with_windows_of(metadata: ModelMetadata, is_older: bool) -> ModelMetadata:
    """Return the metadata with the windows that a release uses: older ones ignore those of some architectures."""
    if not is_older or metadata.architecture not in _NEWER_WINDOWS:
        return metadata
    layers = tuple(replace(layer, window=False) for layer in metadata.layers)
    return replace(metadata, layers=layers, cells_window=0)


def layer_cells(metadata: ModelMetadata, layer: LayerMetadata, settings: CacheSettings, has_bug: bool = False) -> int:
    """Compute the cells of one stream of a layer; 0 without attention.

    :param has_bug: whether each slot of a hybrid model gets the cells of all slots (older releases).
    """
    if not layer.kv_heads:
        return 0
    cells = settings.window_cells(metadata.cells_window) if layer.window else settings.cells
    return cells * (settings.streams if has_bug and metadata.recurrent else 1)


def cache_bytes(metadata: ModelMetadata, layer: LayerMetadata, settings: CacheSettings, has_bug: bool = False) -> int:
    """Compute the bytes of a layer's keys and values."""
    cells = layer_cells(metadata, layer, settings, has_bug)
    if not cells:
        return 0
    row = 0
    if not layer.shares_cache:
        row = row_bytes(settings.type_k, layer.kv_heads * layer.key)
        row += row_bytes(settings.type_v, layer.kv_heads * layer.value)
    found = cells * row
    if layer.indexer:
        # An indexer keeps its keys for the whole context.
        row = row_bytes(settings.type_k, layer.indexer) + row_bytes(settings.type_v, layer.indexer_value)
        found += settings.cells * row
    return settings.streams * found


def state_bytes(layer: LayerMetadata, settings: CacheSettings) -> int:
    """Compute the bytes of a layer's recurrent state, in single precision for each slot."""
    return layer.state * 4 * settings.slots * (1 + settings.rollbacks)
