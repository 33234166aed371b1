# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tier and model a type of task goes to.

The inventory says for each type which models are good at it, best first, and why. What is published from it on the
gateway names one tier and one model for each type: the best of those that a tier serves. The gateway and the command
for people read the same published table, so that they never disagree.
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
#: What stands in the log for a type that the table does not have.
DEFAULT = "default"
_KEYS = {"models", "tier", "reason"}


class Choice(NamedTuple):
    """Where a task goes.

    :ivar model: the id under which that tier is asked for the model.
    :ivar why: a sentence for people.
    """

    tier: str
    model: str
    why: str


@dataclass(frozen=True)
class TaskTable:
    """The published table.

    :ivar default: what a type that is not in the table gets; None where such a type is refused.
    """

    types: Mapping[str, Choice]
    default: Choice | None = None

    @property
    def names(self) -> list[str]:
        """The types that it has, in the inventory's order."""
        return list(self.types)

    def has(self, task: str) -> bool:
        """Whether it has that type, and not just a default."""
        return normal(task) in self.types

    def choose(self, task: str) -> Choice | None:
        """Say where a task of this type goes; None for a type that is not known where there is no default.

        What can be no type is a text that went to the wrong place, and has no default either.
        """
        found = self.types.get(normal(task))
        if found is not None or self.default is None or not _TYPE.fullmatch(normal(task)):
            return found
        return self.default._replace(
            why=f"There is no type {normal(task)!r}; this is the default. {self.default.why}".strip()
        )


def normal(task: str) -> str:
    """The type that somebody means: blanks around it and capitals do not matter."""
    return task.strip().lower()


# From the inventory


@dataclass(frozen=True)
class _Served:
    """A model at a tier."""

    tier: str
    key: str
    model: str
    enabled: bool


def served(tiers: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]) -> list[_Served]:
    """Every model at every tier, in the order of the tiers."""
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
    # A tier that is switched off is better than none: the gateway says that it is stopped.
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
    """Make the table that the gateway reads.

    :param tasks: C(herd_tasks): C(types), and C(default) where there is one.
    :param tiers: C(herd_tiers).
    :param models: C(herd_models).
    :raises InvalidInputError: with what is wrong in the inventory.
    """
    unknown = sorted(set(tasks) - {"types", "default"})
    if unknown:
        raise InvalidInputError("herd_tasks with types and default", unknown[0], "take it out")
    places, names = served(tiers, models), [str(tier["name"]) for tier in tiers]
    types = {}
    for name, given in (tasks.get("types") or {}).items():
        if not isinstance(name, str) or not _TYPE.fullmatch(name):
            raise InvalidInputError(
                "types of tasks of small letters, digits, hyphens and underscores", repr(name), "correct herd_tasks"
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

    :raises InvalidInputError: for what is none.
    """
    try:
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        default = data.get("default")
        types = {str(name): _choice(entry) for name, entry in data["types"].items()}
        return TaskTable(types, _choice(default) if default else None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"a table of tasks of schema {SCHEMA}",
            f"{type(error).__name__}: {error}",
            "run the role gateway, which writes it",
        ) from error


#: Where there is no table: every task is refused, and the error says that there are no types.
EMPTY = TaskTable({})
