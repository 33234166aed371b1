# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a router from the inventory alone: the models that it names, beside the head's model on the same GPUs.

Files that only the router's folder has are unknown here. Their bound is the memory that the named models and the head
leave: the router counts both, and leaves out found files until its models_max largest models fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine import arguments as engine_arguments
from ..errors import InvalidInputError
from ..models import ids as model_ids
from . import router_fit, router_models
from .from_inventory import metadata_in
from .planner import mib
from .router_fit import RouterHost, RouterModel

_OPTIONS = frozenset(("settings", "aliases", "load_at_start"))


@dataclass(frozen=True)
class InventoryRouter:
    """A router as the inventory describes it.

    :param models: fast_router_models: options by key of herd_models.
    :param entries: herd_models.
    :param settings: settings of all models.
    :param has_scan: whether it also offers other files of its folder.
    """

    models: Mapping[str, Any]
    entries: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    models_max: int
    has_scan: bool = True


def entry_of(key: str, options: Any, entries: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the entry of a named model. Check its options."""
    entry = entries.get(key)
    if not entry or not entry.get("file"):
        raise InvalidInputError(
            "every model of the router to be in herd_models, with its file", key, "correct fast_router_models"
        )
    unknown = sorted(set(options or {}) - _OPTIONS)
    if unknown:
        raise InvalidInputError(
            f"settings, aliases or load_at_start for the model {key}",
            unknown[0],
            "correct fast_router_models; settings of the engine stand below settings",
        )
    return entry


def named(router: InventoryRouter) -> list[RouterModel]:
    """List the models that the inventory names."""
    found = []
    for key, options in router.models.items():
        entry = entry_of(key, options, router.entries)
        settings = engine_arguments.merged(router.settings, (options or {}).get("settings") or {})
        found.append(RouterModel(model_ids.file_id(str(entry["file"])), metadata_in(entry), settings))
    return found


def booked_mib(router: InventoryRouter, machine: RouterHost, release: str) -> list[float]:
    """Compute the MiB of each GPU that the named models take together."""
    if not machine.gpus:
        return []
    return router_fit.booked_mib(named(router), machine, router.models_max, release) or [0.0] * len(machine.gpus)


def plan(router: InventoryRouter, machine: RouterHost, release: str) -> dict[str, Any]:
    """Plan the named models, as router_models.plan, and say what found ones may take."""
    found = router_models.plan(named(router), machine, router.models_max, release)
    lines = [found["table"]]
    if any(machine.booked_mib):
        booked = ", ".join(f"{size:.0f}" for size in machine.booked_mib)
        lines.append(f"the head's model takes {booked} MiB of its GPUs, which this plan does not use")
    if router.has_scan:
        rooms = " and ".join(mib(size) for size in found["free"])
        lines.append(
            f"other models of the folder are offered if the largest {router.models_max} of all take no more than "
            f"{rooms} together; playbooks/preflight.yml reads the folder and lists them"
        )
    return {**found, "table": "\n".join(lines)}
