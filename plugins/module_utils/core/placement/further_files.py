# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the memory of the files beside a model: its projector and adapters.

The engine loads the projector whole on the first device. An adapter's tensors lie beside their layers; any device may
hold all of them, so each is charged with the whole file.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..models.metadata import ModelMetadata
from .kv_cache import CacheSettings

MIB = 1 << 20
_FLOAT, _HALF = 4, 2


@dataclass(frozen=True)
class FurtherFiles:
    """The files beside a model.

    :param projector: bytes of the projector's weights and of its compute buffer; 0 for none.
    :param adapters: bytes of each adapter's file.
    """

    projector: int = 0
    adapters: tuple[int, ...] = ()


def adapter_bytes(metadata: ModelMetadata, settings: CacheSettings, files: FurtherFiles) -> int:
    """Compute an upper bound on the bytes of all adapters on any one device, with their intermediate results.

    A matrix with an adapter has two more products: of the adapter's rank, and as wide as the matrix's own.
    """
    widest = max(_widest(metadata), metadata.vocabulary * settings.outputs // max(settings.tokens, 1))
    found = 0
    for size in files.adapters:
        # The rank is unknown; a file of this size holds no more than this many rows in half precision.
        rank = min(metadata.width, size // (_HALF * metadata.width) + 1)
        found += size + 2 * (widest + rank) * settings.tokens * _FLOAT
    return found


def _widest(metadata: ModelMetadata) -> int:
    """Return the most values of a matrix for one token."""
    found = [2 * metadata.width]
    for layer in metadata.layers:
        found += [2 * layer.inner, 2 * layer.shared_inner, layer.heads * (layer.key + layer.value)]
        found.append(layer.experts_used * max(2 * layer.expert_inner, metadata.width))
    found += [2 * size for size in (metadata.recurrent or {}).values()]
    return max(found)
