# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the largest context that fits."""

from __future__ import annotations

from collections.abc import Mapping

from .kv_cache import BLOCK
from .planner import Planner

_SEARCH_LIMIT = 1 << 24


def largest_context(planner: Planner, split: Mapping[str, int] | None = None) -> int:
    """Find the largest context of a slot that fits, in whole blocks of cells; 0 if none fits."""

    def fits(context: int) -> bool:
        return planner.with_cache(context=context).fits(split)

    if not fits(BLOCK):
        return 0
    low, high = BLOCK, BLOCK * 2
    ceiling = planner.metadata.context or _SEARCH_LIMIT
    while high <= ceiling and fits(high):
        low, high = high, high * 2
    high = min(high, ceiling + BLOCK)
    while high - low > BLOCK:
        middle = (low + high) // 2 // BLOCK * BLOCK
        low, high = (middle, high) if fits(middle) else (low, middle)
    return min(low, ceiling)
