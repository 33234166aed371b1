# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the models that a tier's router offers on its job's node: the named models, and further ones found there.

The rule is that of the role fast_router (router_plan): the largest models that may be loaded at the same time must fit
together. Found models are dropped, the largest first. Named ones were planned before and stay.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine import router_mode
from ..errors import HerdError
from ..models import ids as model_ids
from ..models.metadata import ModelMetadata
from ..placement import router_fit
from .job_spec import RESERVE_MIB, JobSpec, Model, Node


@dataclass(frozen=True)
class ModelFile:
    """A model's file on the node.

    :param file: path below the folder of models; of several shards, the first.
    :param metadata: None if it cannot be read.
    :param problem: why it cannot be read.
    """

    file: str
    metadata: ModelMetadata | None = None
    problem: str = ""


def _unusable(name: str, names: Collection[str]) -> str:
    """Say why a file's name cannot be a model's id; empty if it can."""
    if name in names:
        return "another model has this name"
    is_id = router_mode.is_id(name)
    return "" if is_id else "its file's name has more than letters, digits, dots, hyphens and underscores"


def offered(
    job: JobSpec, node: Node, files: Sequence[ModelFile], limit: str = ""
) -> tuple[tuple[Model, ...], list[str]]:
    """Select the offered models, and say why others are not offered.

    :param files: the folder's models, in their order.
    :param limit: memory limit of the job, such as 64G.
    """
    notes: list[str] = []
    there = {f"{job.folder}/{one.file}": one for one in files}
    chosen = [(model, there.get(model.path, ModelFile(model.path)), True) for model in job.models]
    names = {name for model in job.models for name in (model.id, *model.aliases)}
    paths = {model.path for model in job.models}
    for path, one in there.items():
        name = model_ids.file_id(one.file)
        if path in paths:
            continue
        problem = one.problem if one.metadata is None else _unusable(name, names)
        if one.metadata is None or problem:
            notes.append(f"{name} is not offered: {problem}")
            continue
        names.add(name)
        chosen.append((Model(name, path, len(one.metadata.layers), one.metadata.file_size), one, False))
    gpus = [{"memory_mib": node.memory_mib}] * node.gpus
    machine = router_fit.RouterHost(node.name, gpus, node.memory_gib, reserve_mib=RESERVE_MIB, memory_max=limit)
    while True:
        try:
            entries = [
                router_fit.RouterModel(model.id, found.metadata, job.settings_of(model), is_named)
                for model, found, is_named in chosen
            ]
            plan = router_fit.plan(entries, machine, job.models_max, job.rules)
        except HerdError as error:
            return job.models, [*notes, f"only the named models are offered: {error}"]
        alone = plan["left_out"]
        notes += [f"{name} is not offered: {reason}" for name, reason in alone.items()]
        chosen = [one for one in chosen if one[0].id not in alone]
        more = [one for one in chosen if not one[2]]
        if plan["fits"] or not more:
            break
        largest = max(more, key=lambda one: (one[0].size, one[0].id))
        notes.append(f"{largest[0].id} is not offered: beside the others it does not fit: {plan['problems'][0]}")
        chosen.remove(largest)
    placed = {model["id"]: model for model in plan["models"]}
    return tuple(_placed(model, placed.get(model.id, {})) for model, _found, _named in chosen), notes


def _placed(model: Model, place: Any) -> Model:
    if not place:
        return model
    return replace(model, devices=tuple(place["devices"]), split=tuple(place["split"]))
