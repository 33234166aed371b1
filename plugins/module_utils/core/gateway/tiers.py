# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the tiers behind the gateway: as the inventory defines them, and in their present state."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..slurm import tier_status
from ..slurm.endpoint_registry import Registry
from ..slurm.tier_status import DRAINING, LOADING, READY, UNKNOWN


@dataclass(frozen=True)
class Tier:
    """A tier as the inventory defines it.

    :ivar models: ids by which clients name its models; the first is the default.
    :ivar rewrites: whether its engine reads C(model) in a request, as a router does.
    :ivar fallback: the tier that answers while this one is unavailable, without a request for it; empty for none.
    :ivar keys: the inventory's names of these models. Two tiers may serve one model under different ids.
    """

    name: str
    models: tuple[str, ...] = ()
    rewrites: bool = False
    fallback: str = ""
    port: int = 0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class TierStatus:
    """The present state of a tier.

    :ivar retry_after: seconds after which a client may try again.
    :ivar endpoint: address and port of the ready engine; empty for none.
    :ivar models: ids that this engine reports.
    :ivar percent: how much of the model is loaded, while it loads.
    :ivar expected: UNIX time at which the tier is expected back; None if unknown.
    """

    state: str = UNKNOWN
    reason: str = "its state is not known"
    retry_after: int = tier_status.RETRY_AFTER_S
    endpoint: str = ""
    models: tuple[str, ...] = ()
    percent: float | None = None
    expected: float | None = None

    @property
    def is_ready(self) -> bool:
        """Return whether the tier takes requests."""
        return self.state == READY and bool(self.endpoint)


def status_of(tier: tier_status.TierReport, hosts: Collection[str] | None = None) -> TierStatus:
    """Convert a tier's status from the tier manager. Of several ready engines, the one of the newest job counts.

    :param hosts: addresses to which requests may be sent; None for all.
    """
    ready = [endpoint for endpoint in tier.endpoints if endpoint.state == READY]
    allowed = [endpoint for endpoint in ready if hosts is None or endpoint.address in hosts]
    engine = max(allowed, key=lambda one: (one.started, int(one.job_id)), default=None)
    state, reason = tier.state, tier.reason or tier.state
    if ready and not allowed:
        state, reason = UNKNOWN, f"its engine at {ready[0].address} is on no host of the inventory"
    return TierStatus(
        state=state,
        reason=reason,
        retry_after=tier.retry_after_s,
        endpoint=engine.where if engine and state == READY else "",
        models=engine.models if engine else (),
        percent=tier.percent,
        expected=tier.expected,
    )


def from_registry(registry: Registry, names: Iterable[str]) -> dict[str, tier_status.TierReport]:
    """Derive the tiers' status from the endpoint registry alone, while the tier manager is silent."""
    found = {}
    for name in names:
        endpoints = registry.of(name)
        states = {endpoint.state for endpoint in endpoints}
        state = next((state for state in (READY, LOADING, DRAINING) if state in states), UNKNOWN)
        reason = state if state != UNKNOWN else "the tier manager is silent, and no engine of this tier is registered"
        found[name] = tier_status.TierReport(True, state, reason, endpoints=endpoints)
    return found
