# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go of what fetches that never ended left in the folder of the models.

A model is never among it: only the hidden files that a fetch makes for itself are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError
from .check import KEPT, UNFINISHED

DAY_S = 86400.0
_OURS = re.compile(rf"\.(?P<name>.+)\.(?P<suffix>{'|'.join((*UNFINISHED, *KEPT))})(?P<scratch>\.\d+\.tmp)?")


@dataclass(frozen=True)
class Hidden:
    """A file beside the models: its size in bytes, and when it was last written, in seconds since the epoch."""

    name: str
    size: int
    written: float


@dataclass(frozen=True)
class Leftover:
    """All that one fetch left, under the name of its model."""

    model: str
    files: tuple[str, ...]
    size: int


def plan(files: Iterable[Hidden], models: Sequence[str], now: float, days: float) -> list[Leftover]:
    """Say what goes, by the names of the models.

    :param models: names of the models' own files that are there.
    :param days: a fetch whose files were not written for so long is given up.
    """
    if days < 0:
        raise InvalidInputError("at least 0 days", f"{days:g}", "correct model_store_partial_days")
    groups: dict[str, list[tuple[Hidden, str]]] = {}
    for file in files:
        ours = _OURS.fullmatch(file.name)
        if ours:
            scratch = ours["scratch"] or ""
            groups.setdefault(ours["name"], []).append((file, "scratch" if scratch else ours["suffix"]))
    found: list[Leftover] = []
    for model, group in sorted(groups.items()):
        # One file of a fetch that is young says that all of them may still be needed.
        if now - max(file.written for file, _suffix in group) <= days * DAY_S:
            continue
        going = [file for file, suffix in group if suffix not in KEPT or model not in models]
        if going:
            names = tuple(sorted(file.name for file in going))
            found.append(Leftover(model, names, sum(file.size for file in going)))
    return found
