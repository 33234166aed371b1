# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the output of C(llama-model-selector): tier and model of a task type, the reason, and the tier's status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from ..text import text_table
from ..timefmt import span
from .task_routing import Choice, TaskTable
from .tiers import TierStatus

COLUMNS = ("task", "tier", "model", "now", "why")
_SILENT = "unknown: the tier manager is silent"


def state(now: Mapping[str, TierStatus] | None, tier: str, wall: float) -> str:
    """Describe a tier's status in a few words.

    :param now: status of the tiers by name; None while it is unknown.
    :param wall: UNIX time.
    """
    if now is None:
        return _SILENT
    found = now.get(tier, TierStatus())
    if found.is_ready:
        return "ready"
    text = found.reason or found.state
    if found.expected is not None and found.expected > wall:
        text += f", expected in about {span(found.expected - wall)}"
    return text


def choose(table: TaskTable, task: str) -> Choice:
    """Choose tier and model for a task type.

    :raises InvalidInputError: for an unknown type.
    """
    found = table.choose(task)
    if found is None:
        known = ", ".join(table.names) or "none: herd_tasks in the inventory is empty"
        raise InvalidInputError(f"a task type ({known})", repr(task), "name one of them, or a model")
    return found


def as_data(table: TaskTable, task: str, now: Mapping[str, TierStatus] | None, wall: float) -> dict[str, Any]:
    """Return the choice as data."""
    found = choose(table, task)
    ready = now is not None and now.get(found.tier, TierStatus()).is_ready
    return {
        "task": task,
        "known": table.has(task),
        **found._asdict(),
        "ready": ready,
        "state": state(now, found.tier, wall),
    }


def one(table: TaskTable, task: str, now: Mapping[str, TierStatus] | None, wall: float) -> str:
    """Return the choice as text."""
    found = choose(table, task)
    lines = [("Task", task), ("Model", found.model), ("Tier", f"{found.tier}: {state(now, found.tier, wall)}")]
    return "\n".join(f"{name + ':':7}{value}" for name, value in (*lines, ("Why", found.why)) if value)


def every(table: TaskTable, now: Mapping[str, TierStatus] | None, wall: float) -> str:
    """Return the whole table as text."""
    rows = dict(table.types)
    if table.default is not None:
        rows["any other"] = table.default
    if not rows:
        return "There are no task types: herd_tasks in the inventory is empty."
    return text_table(
        [{"task": name, "now": state(now, row.tier, wall), **row._asdict()} for name, row in rows.items()], COLUMNS
    )
