# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of all tiers, which the tier manager publishes for the gateway, the status page and operators.

It is one file on the controller. The manager writes it whole and in one step, on each change and every two seconds. It
is valid for ten seconds. Then readers use the registry, and report that the manager is silent. Where the tiers are
services, the agent on the gateway's host is their manager, and there is no registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import values
from ..errors import InvalidInputError
from ..text import plain, text_table
from . import endpoint_registry
from .endpoint_registry import Endpoint

SCHEMA = 1
READY, LOADING, DRAINING = endpoint_registry.READY, endpoint_registry.LOADING, endpoint_registry.DRAINING
PENDING, PREEMPTED, BACKING_OFF, STOPPED = "pending", "preempted", "backing-off", "stopped"
UNKNOWN = "unknown"
STATES = (READY, LOADING, DRAINING, PENDING, PREEMPTED, BACKING_OFF, STOPPED, UNKNOWN)
#: Seconds between two writes, and seconds after which a status is no longer valid.
EVERY_S, LIFE_S = 2.0, 10.0
#: Seconds after which a client may try again, where nothing better is known.
RETRY_AFTER_S = 30
_COLUMNS = ("tier", "state", "job", "where", "models", "since", "back", "why")


@dataclass(frozen=True)
class TierReport:
    """Status of one tier.

    :param state: C(unknown) only of a tier whose engine is a service: its host does not answer.
    :param reason: reason for people, without a full stop.
    :param retry_after_s: seconds after which a client may try again.
    :param expected: when it is expected back, in seconds since 1970; None if unknown.
    :param percent: loaded part of the model, while it loads.
    :param pending_reason: Slurm's reason for a pending job.
    :param advice: what an operator can do; empty for nothing.
    :param endpoints: live endpoints, the one of the newest job first.
    """

    enabled: bool
    state: str
    reason: str = ""
    retry_after_s: int = RETRY_AFTER_S
    expected: float | None = None
    percent: int | None = None
    job_id: str | None = None
    pending_reason: str | None = None
    advice: str = ""
    nodes: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class StatusReport:
    """Status of all tiers.

    :param written: when it was written, in seconds since 1970.
    :param problems: problems beyond one tier, such as a silent Slurm and dead files of the registry.
    """

    written: float
    tiers: Mapping[str, TierReport] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def age_problem(self, wall: float) -> str:
        """Say why it is not valid; empty if it is."""
        age = wall - self.written
        if -LIFE_S <= age <= LIFE_S:
            return ""
        return f"the tier manager has written nothing for {age:.0f} seconds" if age > 0 else "its time is in the future"


def _tier_data(tier: TierReport) -> dict[str, Any]:
    endpoints = [endpoint_registry.as_data(entry) for entry in tier.endpoints]
    return {**asdict(tier), "nodes": list(tier.nodes), "endpoints": endpoints}


def as_data(view: StatusReport) -> dict[str, Any]:
    """Convert the status to JSON data."""
    return {
        "schema": SCHEMA,
        "written": view.written,
        "tiers": {name: _tier_data(tier) for name, tier in view.tiers.items()},
        "problems": list(view.problems),
    }


def write(view: StatusReport) -> str:
    """Make the text of the status file."""
    return json.dumps(as_data(view), separators=(",", ":")) + "\n"


def _word(value: Any) -> str | None:
    return plain(str(value)) if value is not None else None


def _tier(data: Mapping[str, Any]) -> TierReport:
    if data["state"] not in STATES:
        raise ValueError(f"state {data['state']!r}")
    percent = values.finite(data.get("percent"))
    return TierReport(
        enabled=data["enabled"] is True,
        state=str(data["state"]),
        reason=plain(str(data.get("reason") or "")),
        retry_after_s=max(1, int(values.finite(data.get("retry_after_s")) or RETRY_AFTER_S)),
        expected=values.finite(data.get("expected")),
        percent=None if percent is None else int(percent),
        job_id=_word(data.get("job_id")),
        pending_reason=_word(data.get("pending_reason")),
        advice=plain(str(data.get("advice") or "")),
        nodes=tuple(map(str, data.get("nodes") or ())),
        endpoints=tuple(_endpoints(data.get("endpoints") or ())),
    )


def _endpoints(entries: Sequence[Any]) -> Iterator[Endpoint]:
    """Read endpoints. One that is invalid gets no requests, and the others stay."""
    for entry in entries:
        with suppress(InvalidInputError):
            yield endpoint_registry.from_data(entry)


def read(text: str) -> StatusReport:
    """Read a status file of any age."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        tiers = {str(name): _tier(tier) for name, tier in data["tiers"].items()}
        return StatusReport(
            float(data["written"]), tiers, tuple(plain(str(line)) for line in data.get("problems") or ())
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInputError) as error:
        raise InvalidInputError(
            f"a status of the tiers of schema {SCHEMA}",
            f"{type(error).__name__}: {error}"[:200],
            "see that herd-tiers.service runs on the controller (journalctl -u herd-tiers)",
        ) from error


def _span(seconds: float) -> str:
    minutes = int(max(0.0, seconds) // 60)
    if minutes < 1:
        return f"{max(0.0, seconds):.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _row(name: str, tier: TierReport, wall: float) -> dict[str, str | None]:
    entry = tier.endpoints[0] if tier.endpoints else None
    where = f"{entry.host}:{entry.port}" if entry else ",".join(tier.nodes)
    back = "" if tier.state == READY or tier.expected is None else f"in {_span(tier.expected - wall)}"
    state = f"{tier.state} {tier.percent} %" if tier.state == LOADING and tier.percent is not None else tier.state
    return {
        "tier": name,
        "state": state,
        "job": tier.job_id,
        "where": where,
        "models": ", ".join(entry.models) if entry else "",
        # Both times are by the clock of the endpoint's host.
        "since": _span(entry.heartbeat - entry.started) if entry else "",
        "back": back,
        "why": tier.reason,
    }


def table(view: StatusReport, wall: float, unit: str = "herd-tiers") -> str:
    """Format the status for people: a line for each tier, then advice and problems.

    :param unit: the unit that writes the status.
    """
    lines = [text_table([_row(name, tier, wall) for name, tier in view.tiers.items()], _COLUMNS)]
    lines += [f"{name}: {tier.advice}." for name, tier in view.tiers.items() if tier.advice]
    if old := view.age_problem(wall):
        lines.append(f"This is old: {old} (systemctl status {unit}).")
    return "\n".join([*lines, *view.problems])
