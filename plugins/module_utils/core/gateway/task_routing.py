# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose tier and model by the type of a task.

The inventory lists for each task type the suitable models, best first, and the reason. The role publishes a table from
it with one tier and one model for each type: the best model that a tier serves. The gateway and C(llama-model-selector)
read the same table, so they always agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import InvalidInputError
from ..models import ids as model_ids

SCHEMA = 1
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
#: The log's name for a type that is not in the table.
DEFAULT = "default"
_KEYS = {"models", "tier", "reason"}


class Choice(NamedTuple):
    """The tier and model for a task type.

    :ivar model: the model's id at that tier.
    :ivar why: the reason, as a sentence.
    """

    tier: str
    model: str
    why: str


@dataclass(frozen=True)
class TaskTable:
    """The published table.

    :ivar default: the choice for types that are not in the table; None to refuse them.
    """

    types: Mapping[str, Choice]
    default: Choice | None = None

    @property
    def names(self) -> list[str]:
        """Return its types, in the inventory's order."""
        return list(self.types)

    def has(self, task: str) -> bool:
        """Return whether the type is in the table."""
        return normal(task) in self.types

    def choose(self, task: str) -> Choice | None:
        """Return the choice for a type; None for an unknown type without a default.

        A text that cannot be a type does not get the default either.
        """
        found = self.types.get(normal(task))
        if found is not None or self.default is None or not _TYPE.fullmatch(normal(task)):
            return found
        return self.default._replace(
            why=f"There is no type {normal(task)!r}; this is the default. {self.default.why}".strip()
        )


def normal(task: str) -> str:
    """Normalise a type: case and surrounding blanks do not matter."""
    return task.strip().lower()


@dataclass(frozen=True)
class _Served:
    """A model that a tier serves."""

    tier: str
    key: str
    model: str
    enabled: bool


def served(tiers: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]) -> list[_Served]:
    """List all models of all tiers, in the order of the tiers."""
    found = []
    for tier in tiers:
        for key in tier["models"]:
            if key not in models:
                raise InvalidInputError(
                    f"models of the tier {tier['name']} that herd_models has", key, "correct herd_tiers or herd_models"
                )
            model = model_ids.api_id(str(tier["kind"]), models[key])
            found.append(_Served(str(tier["name"]), str(key), model, bool(tier.get("enabled", True))))
    return found


def _entry(
    name: str, given: Any, places: Sequence[_Served], models: Mapping[str, Any], tiers: Sequence[str]
) -> dict[str, str]:
    where = f"herd_tasks: {name}"
    if not isinstance(given, Mapping) or set(given) - _KEYS or not given.get("models"):
        raise InvalidInputError(
            f"{where} with models, and at most a tier and a reason", repr(given), "write the list of models, best first"
        )
    wanted, tier = [str(key) for key in given["models"]], str(given.get("tier") or "")
    unknown = [key for key in wanted if key not in models]
    if isinstance(given["models"], str) or unknown:
        raise InvalidInputError(
            f"{where} with a list of models that herd_models has",
            repr(given["models"]) if isinstance(given["models"], str) else unknown[0],
            f"name one of {', '.join(sorted(models))}",
        )
    if tier and tier not in tiers:
        raise InvalidInputError(f"{where} at a tier of herd_tiers", tier, f"name one of {', '.join(tiers)}")
    allowed = [place for place in places if place.tier == tier or not tier]
    # A disabled tier is better than none: the gateway then says that it is stopped.
    ranked = sorted(
        (place for place in allowed if place.key in wanted),
        key=lambda place: (not place.enabled, wanted.index(place.key)),
    )
    if not ranked:
        raise InvalidInputError(
            f"{where} with a model that {'the tier ' + tier if tier else 'a tier'} serves",
            ", ".join(wanted),
            f"add one of {', '.join(dict.fromkeys(place.key for place in allowed)) or 'its models'} to the end of it",
        )
    best = ranked[0]
    passed = wanted[: wanted.index(best.key)]
    why = _sentence(str(given.get("reason") or ""))
    if passed:
        kind = "enabled tier" if any(place.key in passed for place in ranked) else "tier"
        them = "it" if len(passed) == 1 else "them"
        why = f"{why} {' and '.join(passed)} would come first, but no {kind} serves {them}.".strip()
    return {"tier": best.tier, "model": best.model, "why": why}


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def publish(
    tasks: Mapping[str, Any], tiers: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Make the table for the gateway.

    :param tasks: C(herd_tasks), with C(types) and optionally C(default).
    :param tiers: C(herd_tiers).
    :param models: C(herd_models).
    :raises InvalidInputError: for errors in the inventory.
    """
    unknown = sorted(set(tasks) - {"types", "default"})
    if unknown:
        raise InvalidInputError("herd_tasks with types and default", unknown[0], "remove it")
    places, names = served(tiers, models), [str(tier["name"]) for tier in tiers]
    types = {}
    for name, given in (tasks.get("types") or {}).items():
        if not isinstance(name, str) or not _TYPE.fullmatch(name):
            raise InvalidInputError(
                "task types of lower-case letters, digits, hyphens and underscores", repr(name), "correct herd_tasks"
            )
        types[name] = _entry(name, given, places, models, names)
    default = tasks.get("default")
    return {
        "schema": SCHEMA,
        "types": types,
        "default": None if default is None else _entry("default", default, places, models, names),
    }


def _choice(data: Mapping[str, Any]) -> Choice:
    return Choice(str(data["tier"]), str(data["model"]), str(data.get("why", "")))


def read(data: Mapping[str, Any]) -> TaskTable:
    """Read a published table.

    :raises InvalidInputError: for anything else.
    """
    try:
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        default = data.get("default")
        types = {str(name): _choice(entry) for name, entry in data["types"].items()}
        return TaskTable(types, _choice(default) if default else None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"a task table of schema {SCHEMA}",
            f"{type(error).__name__}: {error}",
            "run the role gateway, which writes it",
        ) from error


#: The empty table, which refuses all tasks.
EMPTY = TaskTable({})
