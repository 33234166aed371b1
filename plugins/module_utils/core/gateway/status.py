# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(/status.json) says: how every tier is, for its users.

It is open to everybody who reaches the gateway, so it names no user, no key and no address. What came from jobs and
from Slurm is taken apart here, field by field: a field that makes no sense is unknown, and never an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import values
from ..timefmt import iso
from .routing import READY, Now, Tier
from .task_routing import EMPTY, TaskTable

SCHEMA = 1
_LONGEST = 400
_MOST_GPUS = 64


def _count(value: Any) -> int | None:
    found = values.finite(value)
    return None if found is None else int(found)


def _text(value: Any) -> str:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        return ""
    return "".join(c if c.isprintable() else " " for c in str(value)[:_LONGEST])


def _moment(value: Any) -> str | None:
    found = values.finite(value)
    # The last second that has a year of four digits.
    return iso(found) if found is not None and 0 < found < 253402300800 else None


def _part(data: Any, name: str) -> Mapping[str, Any]:
    found = data.get(name) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(data: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = data.get(name)
    return found if isinstance(found, (list, tuple)) else ()


def _rate(value: Any) -> float | None:
    found = values.finite(value)
    return None if found is None else round(found, 1)


def _gpu(data: Any) -> dict[str, Any] | None:
    if not isinstance(data, Mapping):
        return None
    used, total = _count(data.get("used_mib")), _count(data.get("total_mib"))
    if used is None or not total:
        return None
    return {
        "host": _text(data.get("host")),
        "name": _text(data.get("name")),
        "used_mib": min(used, total),
        "total_mib": total,
    }


def _seconds(value: Any) -> float | None:
    found = values.finite(value)
    return None if found is None else round(found, 3)


def _load(entry: Mapping[str, Any], measured: Mapping[str, Any], slots: int | None) -> dict[str, Any]:
    """What the tier has to do: as its engine says, else as the gateway counts."""
    load = _part(entry, "load")
    running, waiting = _count(load.get("processing")), _count(load.get("waiting"))
    open_here = _count(measured.get("in_flight"))
    if running is None and open_here is not None:
        running = min(open_here, slots) if slots else open_here
        waiting = max(0, open_here - slots) if slots else waiting
    return {
        "running": running,
        "waiting": waiting,
        "tokens_per_s": _rate(load.get("tokens_per_s", measured.get("tokens_per_s"))),
        "prompt_tokens_per_s": _rate(load.get("prompt_tokens_per_s", measured.get("prompt_tokens_per_s"))),
    }


def _measured(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requests": _count(data.get("requests")),
        "errors": _count(data.get("errors")),
        "ttft_p50_s": _seconds(data.get("ttft_p50_s")),
        "ttft_p95_s": _seconds(data.get("ttft_p95_s")),
        "duration_p50_s": _seconds(data.get("duration_p50_s")),
    }


def _tier(tier: Tier, now: Now, seen: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    entries = [entry for entry in _list(seen, "endpoints") if isinstance(entry, Mapping)]
    ready = [entry for entry in entries if entry.get("state") == READY]
    entry = max(ready, key=lambda one: values.finite(one.get("started")) or 0.0, default=next(iter(entries), {}))
    slots = _count(entry.get("slots")) or None
    percent = values.finite(now.percent)
    return {
        "name": tier.name,
        "state": now.state,
        "ready": now.is_ready,
        "enabled": seen.get("enabled") is not False,
        "reason": _text(now.reason),
        "percent": None if percent is None or now.state != "loading" else int(min(percent, 100)),
        "expected": _moment(now.expected),
        "retry_after_s": None if now.is_ready else max(1, int(now.retry_after)),
        "job_id": _text(seen.get("job_id") or entry.get("job_id")) or None,
        "pending_reason": _text(seen.get("pending_reason")) or None,
        "models": list(dict.fromkeys((*tier.models, *now.models))),
        "port": tier.port,
        "fallback": tier.fallback or None,
        "context": _count(entry.get("context")) or None,
        "slots": slots,
        "host": _text(entry.get("host")) or None,
        "release": _text(entry.get("release")) or None,
        "started": _moment(entry.get("started")),
        "load": _load(entry, measured, slots),
        "measured": _measured(measured),
        "gpus": [gpu for gpu in map(_gpu, _list(_part(entry, "load"), "gpus")[:_MOST_GPUS]) if gpu],
    }


def collect(
    tiers: Mapping[str, Tier],
    now: Mapping[str, Now],
    view: Mapping[str, Any],
    measured: Mapping[str, Mapping[str, Any]],
    wall: float,
    tasks: TaskTable = EMPTY,
    is_silent: bool = False,
) -> dict[str, Any]:
    """Say how everything is.

    :param tiers: the tiers of the inventory, in its order.
    :param now: how they are, as the gateway sees it.
    :param view: the manager's view, for what is only for people; while the manager is silent, only its C(endpoints).
    :param measured: what the gateway counted, by tier.
    :param wall: UNIX time.
    :param is_silent: whether the manager of the tiers says nothing.
    """
    seen = _part(view, "tiers")
    default = tasks.default
    return {
        "schema": SCHEMA,
        "generated": iso(wall),
        "manager_silent": is_silent,
        "tiers": [
            _tier(tier, now.get(name, Now()), _part(seen, name), measured.get(name) or {})
            for name, tier in tiers.items()
        ],
        "tasks": {name: choice._asdict() for name, choice in tasks.types.items()},
        "default_task": default._asdict() if default else None,
    }
