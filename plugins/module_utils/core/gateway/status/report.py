# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the status of all tiers for C(/status.json) and the status page.

Everybody who reaches the gateway can read it, so it contains no user, no key and no address. The load that a job
reports is checked field by field: an invalid field is unknown, never an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import values
from ...host.nvidia_smi import GpuMemoryLimits
from ...slurm import tier_status
from ...slurm.tier_status import READY
from ...timefmt import iso
from ..task_routing import EMPTY, TaskTable
from ..tiers import Tier, TierStatus

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


def _list(data: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = data.get(name)
    return found if isinstance(found, (list, tuple)) else ()


def _rate(value: Any) -> float | None:
    found = values.finite(value)
    return None if found is None else round(found, 1)


def _gpu(data: Any, limits: GpuMemoryLimits) -> dict[str, Any] | None:
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
        "level": limits.level(used),
    }


def _seconds(value: Any) -> float | None:
    found = values.finite(value)
    return None if found is None else round(found, 3)


def _load(load: Mapping[str, Any], measured: Mapping[str, Any], slots: int) -> dict[str, Any]:
    """Return a tier's load as its engine reports it, else as the gateway counts."""
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


@dataclass(frozen=True)
class Measurements:
    """What the gateway itself knows of the tiers.

    :ivar counters: its own counters, by tier.
    :ivar loaded: the models that a router has loaded, by tier.
    :ivar gpu_memory: the thresholds of a GPU's memory in use.
    """

    counters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loaded: Mapping[str, Collection[str]] = field(default_factory=dict)
    gpu_memory: GpuMemoryLimits = field(default_factory=GpuMemoryLimits)


def _tier(
    tier: Tier, status: TierStatus, seen: tier_status.TierReport | None, measurements: Measurements
) -> dict[str, Any]:
    measured, loaded = measurements.counters.get(tier.name) or {}, measurements.loaded.get(tier.name)
    endpoints = seen.endpoints if seen else ()
    engine = next((one for one in endpoints if one.state == READY), next(iter(endpoints), None))
    load = engine.load if engine and engine.load else {}
    job_id = (seen.job_id if seen else None) or (engine.job_id if engine else None)
    return {
        "name": tier.name,
        "state": status.state,
        "ready": status.is_ready,
        "enabled": seen.enabled if seen else True,
        "reason": _text(status.reason),
        "percent": None if status.percent is None or status.state != "loading" else int(min(status.percent, 100)),
        "expected": _moment(status.expected),
        "retry_after_s": None if status.is_ready else status.retry_after,
        "job_id": _text(job_id) or None,
        "pending_reason": _text(seen.pending_reason if seen else None) or None,
        "models": list(dict.fromkeys((*tier.models, *status.models))),
        "loaded": None if loaded is None else sorted(map(_text, loaded)),
        "port": tier.port,
        "fallback": tier.fallback or None,
        "context": engine.context or None if engine else None,
        "slots": engine.slots or None if engine else None,
        "host": _text(engine.host) or None if engine else None,
        "release": _text(engine.release) or None if engine else None,
        "started": _moment(engine.started) if engine else None,
        "load": _load(load, measured, engine.slots if engine else 0),
        "measured": _measured(measured),
        "history": measured.get("history"),
        "gpus": list(
            filter(None, (_gpu(gpu, measurements.gpu_memory) for gpu in _list(load, "gpus")[:_MOST_GPUS])),
        ),
    }


def collect(
    tiers: Mapping[str, Tier],
    status: Mapping[str, TierStatus],
    seen: Mapping[str, tier_status.TierReport],
    measurements: Measurements,
    wall: float,
    tasks: TaskTable = EMPTY,
    is_silent: bool = False,
) -> dict[str, Any]:
    """Collect the status of all tiers.

    :param tiers: the tiers of the inventory, in its order.
    :param status: their present status, which routes requests.
    :param seen: the same from the tier manager, with details for people; from the registry while it is silent.
    :param measurements: what the gateway itself knows of them.
    :param wall: UNIX time.
    :param is_silent: whether the tier manager is silent.
    """
    default = tasks.default
    return {
        "schema": SCHEMA,
        "generated": iso(wall),
        "manager_silent": is_silent,
        "tiers": [
            _tier(tier, status.get(name, TierStatus()), seen.get(name), measurements) for name, tier in tiers.items()
        ],
        "tasks": {name: choice._asdict() for name, choice in tasks.types.items()},
        "default_task": default._asdict() if default else None,
    }
