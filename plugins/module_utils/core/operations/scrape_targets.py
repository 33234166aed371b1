# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive from an inventory what Prometheus scrapes: agents, engines that are services, and the gateway.

Each job of Prometheus has one key and one certificate, so each engine has a job of its own. Label C(job) is the same
for all jobs of a kind: rules and dashboards go by it. The engines of Slurm jobs are not here, since they come and go:
the gateway lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import NotFoundError
from ..gateway import service_tiers
from ..gateway.status import scrape
from ..models import ids as model_ids

AGENT, HEAD, GATEWAY = "herd_agent", "herd_head", "herd_gateway"
_AGENT_PORT = 50061
#: Kind of an engine by label C(job), its file of keys and its certificate, each as the fact and its default.
_ENGINES = {
    service_tiers.HEAD: (
        HEAD,
        ("head_server_api_key_file", "/etc/herd/head/api-keys"),
        ("head_server_tls_certificate_file", "/etc/herd/head.crt"),
    ),
    service_tiers.ROUTER: (
        scrape.ROUTER,
        ("fast_router_api_key_file", "/etc/herd/router/api-keys"),
        ("fast_router_tls_certificate_file", "/etc/herd/router.crt"),
    ),
}
_JOB_KEY = ("gateway_engine_key_file", "/etc/herd/tiers/api-keys")
_GATEWAY_CERTIFICATE = ("gateway_tls_certificate_file", "/etc/herd/gateway/tls.crt")

Groups = Mapping[str, Sequence[str]]
Hosts = Mapping[str, Mapping[str, Any]]


def _fact(facts: Mapping[str, Any], name_and_default: tuple[str, str]) -> str:
    name, default = name_and_default
    return str(facts.get(name) or default)


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _agents(groups: Groups, hosts: Hosts) -> list[dict[str, Any]]:
    found = []
    for host in groups.get("node_agent", ()):
        facts = hosts[host]
        if not _is_true(facts.get("node_agent_enabled", True)):
            continue
        address = facts.get("node_agent_address") or facts.get("herd_fabric_address")
        if address is None:
            raise NotFoundError(
                f"herd_fabric_address of {host}", "none", "add the host's fabric address to its host_vars"
            )
        port = int(facts.get("node_agent_port") or _AGENT_PORT)
        found.append({"targets": [f"{address}:{port}"], "labels": {"job": AGENT, "host": host}})
    return found


def _tier_of(kind: str, host: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the label of the tier that an engine serves; none without a gateway."""
    for tier in facts.get("herd_tiers") or ():
        if isinstance(tier, Mapping) and tier.get("host") == host and tier.get("kind") == kind:
            return {"tier": str(tier["name"])}
    return {}


def _engine_targets(kind: str, host: str, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the targets of an engine: of a router one for each named model.

    A router would load a model that is not in memory to answer for it, unless C(autoload) is false.
    """
    where = f"{service_tiers.address_of(kind, facts)}:{service_tiers.port_of(kind, facts)}"
    labels = {"job": _ENGINES[kind][0], "host": host, **_tier_of(kind, host, facts)}
    if kind == service_tiers.HEAD:
        return [{"targets": [where], "labels": labels}]
    models = [model_ids.api_id(kind, facts["herd_models"][key]) for key in facts.get("fast_router_models") or {}]
    return [
        {"targets": [where], "labels": {**labels, "model": model, **scrape.router_parameters(model)}}
        for model in models
    ]


def _engines(groups: Groups, hosts: Hosts) -> Iterator[dict[str, Any]]:
    for kind, (job, key, certificate) in _ENGINES.items():
        for host in groups.get(service_tiers.GROUPS[kind], ()):
            facts = hosts[host]
            targets = _engine_targets(kind, host, facts)
            if targets:
                yield {
                    "name": f"{job}_{host}",
                    "host": host,
                    "key_file": _fact(facts, key),
                    "certificate_file": _fact(facts, certificate) if service_tiers.tls_fact(kind, facts) else "",
                    "targets": targets,
                }


def _gateways(groups: Groups, hosts: Hosts) -> Iterator[dict[str, Any]]:
    for host in groups.get("gateway", ()):
        facts = hosts[host]
        tiers = [tier for tier in facts.get("herd_tiers") or () if isinstance(tier, Mapping) and "gateway_port" in tier]
        if not tiers:
            continue
        where = f"{facts['ansible_host']}:{tiers[0]['gateway_port']}"
        certificate = _fact(facts, _GATEWAY_CERTIFICATE) if _is_true(facts.get("gateway_tls", False)) else ""
        yield {
            "name": f"{GATEWAY}_{host}",
            "host": host,
            "key_file": "",
            "certificate_file": certificate,
            "targets": [{"targets": [where], "labels": {"job": GATEWAY, "host": host}}],
        }
        if any(not service_tiers.is_service(tier) for tier in tiers):
            scheme = "https" if certificate else "http"
            yield {
                "name": f"{scrape.JOB}_{host}",
                "host": host,
                "key_file": _fact(facts, _JOB_KEY),
                "certificate_file": certificate,
                "discovery": f"{scheme}://{where}{scrape.PATH}",
                "targets": [],
            }


def scrape_targets(groups: Groups, hosts: Hosts) -> dict[str, list[dict[str, Any]]]:
    """Return what Prometheus scrapes, from the inventory alone.

    :param hosts: variables of all hosts, by host.
    :returns: C(agents), as the content of a file of targets, and C(services): the name of each job of Prometheus, its
        host, the key's and the certificate's files there (empty for none), and its targets. A service with
        C(discovery) has the URL that lists its targets instead.
    :raises NotFoundError: for an agent without a fabric address.
    """
    return {"agents": _agents(groups, hosts), "services": [*_engines(groups, hosts), *_gateways(groups, hosts)]}
