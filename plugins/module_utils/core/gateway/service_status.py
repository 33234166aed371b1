# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the status of the tiers whose engines are services from the heartbeats of their hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import values
from ..release import units
from ..slurm import tier_status
from ..slurm.endpoint_registry import Endpoint
from ..slurm.tier_status import BACKING_OFF, DRAINING, LOADING, PENDING, READY, STOPPED, UNKNOWN, TierReport
from ..supervision.heartbeat import Head, Heartbeat
from ..supervision.observations import PeerObservation
from ..text import plain

#: Seconds after which a client may try again: where the group mends itself, and where an operator has to.
SOON_S, LATER_S = 10, tier_status.RETRY_AFTER_S
#: A service has no job. Entries of the status need a number.
_NO_JOB = "0"

Observations = Mapping[str, PeerObservation]


@dataclass(frozen=True)
class ServiceTier:
    """A tier whose engine is a service.

    :ivar address: where the engine is reached, if its command line names no address of the host.
    :ivar slots: requests that it computes at once; 0 if the heartbeat says it.
    :ivar workers: the hosts of a head's workers.
    """

    name: str
    host: str
    is_router: bool
    address: str
    models: tuple[str, ...]
    slots: int = 0
    workers: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Name the unit of its engine."""
        return units.ROUTER if self.is_router else units.HEAD


def from_data(data: Mapping[str, Any]) -> ServiceTier:
    """Read a tier from the agent's configuration."""
    return ServiceTier(
        name=str(data["name"]),
        host=str(data["host"]),
        is_router=data["kind"] == "router",
        address=str(data["address"]),
        models=tuple(map(str, data["model_ids"])),
        slots=int(data["slots"]),
        workers=tuple(map(str, data["workers"])),
    )


def reports(tiers: Sequence[ServiceTier], seen: Observations, wall: float) -> dict[str, TierReport]:
    """Return the status of each tier.

    :param seen: what was last heard of each host.
    :param wall: UNIX time.
    """
    return {tier.name: report(tier, seen, wall) for tier in tiers}


def report(tier: ServiceTier, seen: Observations, wall: float) -> TierReport:
    """Return the status of a tier."""
    at = seen.get(tier.host, PeerObservation("silent", detail="not asked yet"))
    nodes = (tier.host, *tier.workers)
    if at.heartbeat is None:
        reason = f"the agent of {tier.host} does not answer ({at.detail or at.kind})"
        return TierReport(True, UNKNOWN, plain(reason), LATER_S, nodes=nodes)
    engine = at.heartbeat.router if tier.is_router else at.heartbeat.head
    if engine is None:
        reason = f"{tier.unit} is not installed on {tier.host}"
        return TierReport(False, STOPPED, reason, LATER_S, nodes=nodes)
    state, reason = _state(tier, engine, seen)
    endpoint = _endpoint(tier, at.heartbeat, engine, seen, wall) if state == READY else None
    if state == READY and endpoint is None:
        state, reason = UNKNOWN, f"{tier.unit} on {tier.host} names no port of its API"
    retry_after = LATER_S if state in (STOPPED, BACKING_OFF) else SOON_S
    return TierReport(
        enabled=state != STOPPED,
        state=state,
        reason=plain(reason),
        retry_after_s=retry_after,
        nodes=nodes,
        endpoints=(endpoint,) if endpoint is not None else (),
    )


def _state(tier: ServiceTier, engine: Head, seen: Observations) -> tuple[str, str]:
    """Return state and reason of an engine whose host answers."""
    what = "the router" if tier.is_router else "the head"
    if engine.active in ("inactive", "failed") and not engine.job:
        ended = "has failed" if engine.active == "failed" else "is stopped"
        return STOPPED, f"{tier.unit} {ended} on {tier.host}"
    if engine.active != "active" or engine.job or not engine.pid:
        return PENDING, _starting(tier, what, engine, seen)
    if engine.draining:
        return DRAINING, engine.reason or f"{what} finishes its running requests"
    if engine.health in ("loading", "refused"):
        return LOADING, f"the model is loading on {tier.host}" if not tier.is_router else "the router is starting"
    if engine.health != "ok":
        return UNKNOWN, f"the API on {tier.host} does not answer"
    # The state of a router's supervision may be that of one of its models.
    if not tier.is_router and engine.supervision == "waiting":
        return BACKING_OFF, engine.reason
    if not tier.is_router and engine.supervision == "recovering":
        return PENDING, f"the head is started again: {engine.reason}"
    # A head that sleeps has released its workers, and its agent goes on watching it.
    if engine.lost and engine.supervision != "watching":
        return PENDING, f"the head has no connection to {', '.join(engine.lost)}"
    return READY, READY


def _starting(tier: ServiceTier, what: str, engine: Head, seen: Observations) -> str:
    away = [host for host in tier.workers if not _has_worker(seen.get(host))]
    if away:
        return f"the head waits for its worker on {' and '.join(away)}"
    return f"{what} on {tier.host} is starting" + (f": {engine.reason}" if engine.reason else "")


def _has_worker(at: PeerObservation | None) -> bool:
    worker = at.heartbeat.worker if at is not None and at.heartbeat is not None else None
    return worker is not None and worker.active == "active" and worker.listening and worker.state != "T"


def _endpoint(
    tier: ServiceTier, heartbeat: Heartbeat, engine: Head, seen: Observations, wall: float
) -> Endpoint | None:
    """Return where the engine takes requests; None if its command line names no port."""
    address, _colon, port = engine.api.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        return None
    return Endpoint(
        tier=tier.name,
        job_id=_NO_JOB,
        host=tier.host,
        address=tier.address if address.startswith("127.") else address,
        port=int(port),
        models=_models(tier, engine),
        state=READY,
        percent=100,
        context=0,
        slots=tier.slots or (0 if tier.is_router else max(0, engine.slots)),
        release=engine.release,
        started=float(round(max(0.0, wall - heartbeat.uptime_s + engine.started))),
        heartbeat=wall,
        load=_load(tier, engine, seen),
    )


def _models(tier: ServiceTier, engine: Head) -> tuple[str, ...]:
    """Return the models that an engine offers: those of the inventory that it has, then those that a router found."""
    if not tier.is_router or not engine.models:
        return tier.models
    named = [name for name in tier.models if name in engine.models]
    return tuple(dict.fromkeys([*named, *engine.models]))


def _load(tier: ServiceTier, engine: Head, seen: Observations) -> dict[str, Any]:
    """Return the load of the engine and the memory of its hosts' GPUs, as a job writes them."""
    counts = {"processing": engine.busy, "waiting": engine.waiting, "tokens_per_s": engine.tokens_per_second}
    heartbeats = {host: seen[host].heartbeat for host in (tier.host, *tier.workers) if host in seen}
    gpus = [
        {"host": host, "name": gpu.name, "used_mib": gpu.memory_used_mib, "total_mib": gpu.memory_total_mib}
        for host, heartbeat in heartbeats.items()
        if heartbeat is not None
        for gpu in heartbeat.gpus
        if gpu.memory_used_mib >= 0
    ]
    return {**{name: value for name, value in counts.items() if values.finite(value, 0) is not None}, "gpus": gpus}
