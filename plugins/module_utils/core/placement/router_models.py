# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the files of a folder that a router offers, for the role fast_router and for a router's job.

A file that cannot be offered never stops a router: it is left out with a reason. Models that the inventory names stay.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import router_mode
from ..models import ids as model_ids
from ..models.metadata import ModelMetadata
from . import router_fit
from .router_fit import RouterHost, RouterModel


@dataclass(frozen=True)
class ModelFile:
    """A model's file that was found in the folder.

    :param file: path below the folder of models; of several shards, the first.
    :param metadata: None if it cannot be read.
    :param problem: why it cannot be read.
    """

    file: str
    metadata: ModelMetadata | None = None
    problem: str = ""

    @property
    def id(self) -> str:
        """The id by which clients would ask for it."""
        return model_ids.file_id(self.file)


def misnamed(files: Collection[str]) -> dict[str, str]:
    """Return the files that look like models but end in other letters than .gguf, with the reason."""
    shown = [file for file in sorted(files) if not any(part.startswith(".") for part in file.split("/"))]
    return {
        file: "its name does not end in .gguf in small letters: rename it"
        for file in shown
        if file.lower().endswith(".gguf") and not file.endswith(".gguf")
    }


def select(files: Sequence[ModelFile], names: Collection[str]) -> tuple[list[ModelFile], dict[str, str]]:
    """Select the found files that can be offered; return the reasons for the others.

    :param names: ids and aliases of the named models.
    """
    taken, chosen = set(names), []
    left_out: dict[str, str] = {}
    for one in files:
        problem = _problem(one)
        if problem:
            left_out[one.file if one.id in taken else one.id] = problem
        elif one.id in taken:
            left_out[one.file] = "another model has this name: rename the file"
        else:
            taken.add(one.id)
            chosen.append(one)
    return chosen, left_out


def _problem(one: ModelFile) -> str:
    """Say why a file cannot be offered, whatever the others are; empty if it can."""
    if one.metadata is None:
        return one.problem or "it cannot be read"
    if one.metadata.purpose:
        return f"it is {one.metadata.purpose}; name it in the inventory if it is to be offered"
    if not router_mode.is_id(one.id):
        return (
            "its file's name has more than letters, digits, dots, hyphens, plus signs and underscores, or is reserved: "
            "rename it"
        )
    return ""


def plan(entries: Sequence[RouterModel], machine: RouterHost, models_max: int, release: str) -> dict[str, Any]:
    """Plan all models of a router; leave out found models, the largest first, until the others fit together.

    :returns: as router_fit.plan.
    """
    left_out: dict[str, str] = {}
    kept = list(entries)
    while True:
        found = router_fit.plan(kept, machine, models_max, release)
        left_out.update(found["left_out"])
        kept = [entry for entry in kept if entry.id not in left_out]
        more = [(entry.metadata.file_size, entry.id) for entry in kept if entry.metadata and not entry.is_named]
        if found["fits"] or not more:
            lines = [f"left out: {name}: {reason}" for name, reason in left_out.items()]
            table = "\n".join([found["table"], *(line for line in lines if line not in found["table"])])
            return {**found, "left_out": left_out, "table": table}
        largest = max(more)[1]
        left_out[largest] = f"beside the others it does not fit: {found['problems'][0]}"
        kept = [entry for entry in kept if entry.id != largest]
