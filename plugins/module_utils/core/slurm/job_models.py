# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the models that a tier's router offers on its job's node: the named models, and further ones found there.

The rule is that of the role fast_router (router_plan): the largest models that may be loaded at the same time must fit
together. Found models are dropped, the largest first. Named ones were planned before and stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..engine.flags import attention_kernels
from ..errors import HerdError
from ..placement import router_fit, router_models
from ..placement.router_models import ModelFile
from .job_spec import RESERVE_MIB, JobSpec, Model, Node


def offered(
    job: JobSpec, node: Node, files: Sequence[ModelFile], limit: str = ""
) -> tuple[tuple[Model, ...], list[str]]:
    """Select the offered models, and say why others are not offered.

    :param files: the folder's models, in their order.
    :param limit: memory limit of the job, such as 64G.
    """
    there = {f"{job.folder}/{one.file}": one for one in files}
    chosen = [(model, there.get(model.path, ModelFile(model.path)), True) for model in job.models]
    names = {name for model in job.models for name in (model.id, *model.aliases)}
    paths = {model.path for model in job.models}
    found, left_out = router_models.select([one for path, one in there.items() if path not in paths], names)
    for one in found:
        if one.metadata is not None:
            layers, size = len(one.metadata.layers), one.metadata.file_size
            shapes = attention_kernels.shapes_of(one.metadata.to_data())
            chosen.append((Model(one.id, f"{job.folder}/{one.file}", layers, size, shapes), one, False))
    gpus = [{"memory_mib": node.memory_mib}] * node.gpus
    machine = router_fit.RouterHost(node.name, gpus, node.memory_gib, reserve_mib=RESERVE_MIB, memory_max=limit)
    try:
        entries = [
            router_fit.RouterModel(model.id, one.metadata, job.settings_of(model), is_named)
            for model, one, is_named in chosen
        ]
        plan = router_models.plan(entries, machine, job.models_max, job.rules)
    except HerdError as error:
        return job.models, [*_notes(left_out), f"only the named models are offered: {error}"]
    notes = _notes({**left_out, **plan["left_out"]})
    chosen = [one for one in chosen if one[2] or one[0].id not in plan["left_out"]]
    placed = {model["id"]: model for model in plan["models"]}
    return tuple(_placed(model, placed.get(model.id, {})) for model, _found, _named in chosen), notes


def _notes(left_out: Mapping[str, str]) -> list[str]:
    return [f"{name} is not offered: {reason}" for name, reason in left_out.items()]


def _placed(model: Model, place: Any) -> Model:
    if not place:
        return model
    return replace(model, devices=tuple(place["devices"]), split=tuple(place["split"]))
