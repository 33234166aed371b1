# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(llama-model-selector) prints: where a type of task goes, why, and how that tier is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from ..text import text_table
from ..timefmt import span
from .routing import Now
from .task_routing import Choice, TaskTable

COLUMNS = ("task", "tier", "model", "now", "why")
_SILENT = "not known, since the manager of the tiers says nothing"


def state(now: Mapping[str, Now] | None, tier: str, wall: float) -> str:
    """How a tier is, in a few words.

    :param now: how the tiers are, by name; None where nobody says.
    """
    if now is None:
        return _SILENT
    found = now.get(tier, Now())
    if found.is_ready:
        return "answers"
    text = found.reason or found.state
    if found.expected is not None and found.expected > wall:
        text += f", expected in about {span(found.expected - wall)}"
    return text


def choose(table: TaskTable, task: str) -> Choice:
    """Say where a task goes.

    :raises InvalidInputError: for a type that there is not.
    """
    found = table.choose(task)
    if found is None:
        known = ", ".join(table.names) or "none: herd_tasks of the inventory is empty"
        raise InvalidInputError(f"a type of task ({known})", repr(task), "name one of them, or a model")
    return found


def as_data(table: TaskTable, task: str, now: Mapping[str, Now] | None, wall: float) -> dict[str, Any]:
    """Say it to a program."""
    found = choose(table, task)
    ready = now is not None and now.get(found.tier, Now()).is_ready
    return {
        "task": task,
        "known": table.has(task),
        **found._asdict(),
        "ready": ready,
        "state": state(now, found.tier, wall),
    }


def one(table: TaskTable, task: str, now: Mapping[str, Now] | None, wall: float) -> str:
    """Say it to a person."""
    found = choose(table, task)
    lines = [("Task", task), ("Model", found.model), ("Tier", f"{found.tier}: {state(now, found.tier, wall)}")]
    return "\n".join(f"{name + ':':7}{value}" for name, value in (*lines, ("Why", found.why)) if value)


def every(table: TaskTable, now: Mapping[str, Now] | None, wall: float) -> str:
    """Show the whole table."""
    rows = dict(table.types)
    if table.default is not None:
        rows["any other"] = table.default
    if not rows:
        return "There are no types of tasks: herd_tasks of the inventory is empty."
    return text_table(
        [{"task": name, "now": state(now, row.tier, wall), **row._asdict()} for name, row in rows.items()], COLUMNS
    )
