# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the engines that serve the tiers at present, as Prometheus discovers them over HTTP."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...slurm import tier_status
from ..tiers import Tier

#: The gateway's page with these engines.
PATH = "/targets.json"
JOB, ROUTER = "herd_job", "herd_router"


def router_parameters(model: str) -> dict[str, str]:
    """Return the labels from which Prometheus makes the query of a router's model, which loads no model."""
    return {"__param_model": model, "__param_autoload": "false"}


def targets(
    tiers: Mapping[str, Tier], reports: Mapping[str, tier_status.TierReport], hosts: Collection[str]
) -> list[dict[str, Any]]:
    """List the engines that serve: of a router one target for each of its models.

    :param reports: the latest report of each tier.
    :param hosts: addresses of the inventory. Prometheus sends the engines' key to no other.
    """
    found = []
    for name, report in reports.items():
        for endpoint in report.endpoints:
            if name not in tiers or endpoint.address not in hosts or endpoint.state == tier_status.LOADING:
                continue
            labels = {"job": JOB, "host": endpoint.host, "tier": name}
            if not tiers[name].rewrites:
                found.append({"targets": [endpoint.where], "labels": labels})
                continue
            labels["job"] = ROUTER
            for model in endpoint.models:
                query = {"model": model, **router_parameters(model)}
                found.append({"targets": [endpoint.where], "labels": {**labels, **query}})
    return found
