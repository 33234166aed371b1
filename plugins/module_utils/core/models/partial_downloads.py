# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find partial downloads that may be removed from the folder of the models.

Models are never among them: only the hidden files that a download makes for itself are considered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..download.parts import HIDDEN, KEPT
from ..errors import InvalidInputError

DAY_S = 86400.0


@dataclass(frozen=True)
class HiddenFile:
    """A file beside the models: its size in bytes and its last write in seconds since the epoch."""

    name: str
    size: int
    written: float


@dataclass(frozen=True)
class PartialDownload:
    """The hidden files of one download, under the name of its model; the size in bytes."""

    model: str
    files: tuple[str, ...]
    size: int


def plan(files: Iterable[HiddenFile], models: Sequence[str], now: float, days: float) -> list[PartialDownload]:
    """List the partial downloads to remove, sorted by model.

    :param models: names of the model files that are there.
    :param days: days without a write after which a download counts as given up.
    """
    if days < 0:
        raise InvalidInputError("at least 0 days", f"{days:g}", "correct model_store_partial_days")
    groups: dict[str, list[tuple[HiddenFile, str]]] = {}
    for file in files:
        match = HIDDEN.fullmatch(file.name)
        if match:
            groups.setdefault(match["name"], []).append((file, "scratch" if match["scratch"] else match["suffix"]))
    found: list[PartialDownload] = []
    for model, group in sorted(groups.items()):
        # One recently written file keeps all files of its download.
        if now - max(file.written for file, _suffix in group) <= days * DAY_S:
            continue
        going = [file for file, suffix in group if suffix not in KEPT or model not in models]
        if going:
            names = tuple(sorted(file.name for file in going))
            found.append(PartialDownload(model, names, sum(file.size for file in going)))
    return found
