# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which attention CUDA's flash attention computes, by the sources of both releases.

The table follows ggml_cuda_get_best_fattn_kernel (ggml-cuda/fattn.cu) and the dispatch of the tile kernel and of the
tensor-core kernel. A worker claims support of every operation, so a head without a kernel aborts the worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Sizes of key heads for which every number of query heads has a kernel; values are as large.
EQUAL_SIZES = (40, 64, 72, 80, 96, 112, 128, 256)
VOLTA = "7.0"
#: The engine switches flash attention off for these architectures.
WITHOUT_FLASH = ("grok",)


@dataclass(frozen=True)
class PairRule:
    """Sizes of key and value heads with a kernel for some numbers of query heads only.

    :param multiple: query heads for each key head are a multiple of this number.
    :param volta: the same on a GPU of compute capability 7.0.
    :param is_newer: whether only releases with --load-mode have it.
    """

    multiple: int
    volta: int
    is_newer: bool


#: By sizes of key and value heads. A multiple of 0 is any number from 2 on.
PAIRS: Mapping[tuple[int, int], PairRule] = {
    (192, 128): PairRule(8, 8, True),
    (320, 256): PairRule(32, 32, True),
    (512, 512): PairRule(0, 4, True),
    (576, 512): PairRule(0, 4, False),
}


@dataclass(frozen=True)
class AttentionShape:
    """The attention of a layer as the kernel sees it.

    :param key: size of a key head, value: of a value head.
    :param ratio: query heads for each key head.
    """

    key: int
    value: int
    ratio: int

    def __str__(self) -> str:
        return f"key heads of {self.key}, value heads of {self.value} and {self.ratio} query heads for each"


def shapes_of(metadata: Mapping[str, Any]) -> tuple[AttentionShape, ...]:
    """List the shapes of attention in a model's metadata, each once."""
    if metadata.get("architecture") in WITHOUT_FLASH:
        return ()
    latent, found = metadata.get("latent") or {}, []
    for layer in metadata.get("kinds") or ():
        heads, kv_heads = int(layer.get("heads", 0)), int(layer.get("kv_heads", 0))
        if not heads or not kv_heads:
            continue
        if latent.get("compressed"):
            # All heads share one compressed key, whose first part is the value.
            found.append(AttentionShape(latent["rank"] + latent["rope"], latent["rank"], latent["heads"]))
        else:
            found.append(AttentionShape(int(layer.get("key", 0)), int(layer.get("value", 0)), heads // kv_heads))
    return tuple(dict.fromkeys(found))


def has_kernel(shape: AttentionShape, is_newer: bool, is_volta: bool) -> bool:
    """Return whether a release has a kernel for a shape.

    :param is_newer: whether it is a release with --load-mode.
    :param is_volta: whether a GPU has compute capability 7.0.
    """
    if shape.key in EQUAL_SIZES:
        return shape.value == shape.key
    rule = PAIRS.get((shape.key, shape.value))
    if rule is None or (rule.is_newer and not is_newer) or shape.ratio < 2:
        return False
    return shape.ratio % max(rule.volta if is_volta else rule.multiple, 1) == 0


def without_kernel(shapes: Iterable[AttentionShape], is_newer: bool, is_volta: bool) -> list[AttentionShape]:
    """List the shapes without a kernel."""
    return [shape for shape in shapes if not has_kernel(shape, is_newer, is_volta)]
