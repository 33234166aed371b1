# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete and check the tiers of an inventory whose engines are services: a head with its workers, or a router.

Such a tier names its host. Its models and its address follow from the facts of that host. A tier without a host runs as
Slurm jobs, and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import values
from ..errors import InvalidInputError
from ..models import ids as model_ids

HEAD, ROUTER = "distributed", "router"
#: The group of the hosts of each kind of tier.
GROUPS = {HEAD: "head_server", ROUTER: "fast_router"}
#: The fact with the port of each kind's engine, and the port without this fact.
_PORTS = {HEAD: ("herd_api_port", 8000), ROUTER: ("fast_router_port", 8080)}
_ADDRESSES = {HEAD: "herd_api_address", ROUTER: "herd_router_address"}
_TLS = {HEAD: ("head_server_tls", "herd_api_tls"), ROUTER: ("fast_router_tls", "herd_api_tls")}
#: The facts of hosts that this file reads.
FACTS = (
    *("herd_tiers", "herd_model", "herd_models", "ansible_host", "fast_router_models", "fast_router_settings"),
    *(name for name, _port in _PORTS.values()),
    *_ADDRESSES.values(),
    *dict.fromkeys(name for names in _TLS.values() for name in names),
)
_KEYS = {"name", "kind", "host", "gateway_port"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

Groups = Mapping[str, Sequence[str]]
Hosts = Mapping[str, Mapping[str, Any]]


def address_of(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the address at which other hosts reach the engine of a host."""
    address = str(facts.get(_ADDRESSES[kind]) or "")
    return str(facts["ansible_host"]) if address in ("", "0.0.0.0") else address


def port_of(kind: str, facts: Mapping[str, Any]) -> int:
    """Return the port of the engine of a host."""
    name, default = _PORTS[kind]
    return int(facts.get(name) or default)


def _models(kind: str, facts: Mapping[str, Any]) -> list[str]:
    """List the models of a tier by their keys in C(herd_models), the default first."""
    found = [facts["herd_model"]] if kind == HEAD else list(facts.get("fast_router_models") or {})
    return [str(key) for key in found]


def _slots(kind: str, facts: Mapping[str, Any]) -> int:
    """Return the requests that each model of a router computes at once; 0 if the engine says it itself."""
    settings = facts.get("fast_router_settings") if kind == ROUTER else None
    return int(values.finite(settings.get("slots"), 0) or 0) if isinstance(settings, Mapping) else 0


def tls_fact(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the name of the fact by which the engine of a host speaks TLS; empty without TLS."""
    name = next((name for name in _TLS[kind] if name in facts), "")
    return name if name and str(facts[name]).lower() in ("true", "yes", "on", "1") else ""


def is_service(tier: Mapping[str, Any]) -> bool:
    """Return whether the engine of a tier is a service, and no job."""
    return "host" in tier


def complete(tiers: Sequence[Mapping[str, Any]], groups: Groups, hosts: Hosts) -> list[dict[str, Any]]:
    """Complete each tier that is a service by the facts of its host.

    :param tiers: C(herd_tiers).
    :param hosts: variables of all hosts, by host.
    :raises InvalidInputError: for the first problem of such a tier.
    """
    found = []
    for tier in tiers:
        if not is_service(tier):
            found.append(dict(tier))
            continue
        problem = next(_tier_problems(tier, groups, hosts), None)
        if problem is not None:
            raise problem
        kind, facts = str(tier["kind"]), hosts[tier["host"]]
        keys = _models(kind, facts)
        found.append(
            {
                **tier,
                "models": keys,
                "model_ids": [model_ids.api_id(kind, facts["herd_models"][key]) for key in keys],
                "address": address_of(kind, facts),
                "slots": _slots(kind, facts),
                "workers": [str(host) for host in groups.get("rpc_worker", ())] if kind == HEAD else [],
            }
        )
    return found


def problems(groups: Groups, hosts: Hosts) -> Iterator[str]:
    """List the problems of a gateway in front of services, each as a sentence; none without a gateway.

    :param hosts: variables of all hosts, by host.
    """
    gateways = list(groups.get("gateway", ()))
    if not gateways:
        return
    if len(gateways) > 1 or groups.get("slurm_controller"):
        here = "a Slurm controller" if groups.get("slurm_controller") else f"{len(gateways)} ({', '.join(gateways)})"
        yield (
            f"group gateway: expected exactly one host, in front of services alone, found {here}: leave one host in "
            "the group, and give the tiers of a Slurm cluster an inventory of their own."
        )
        return
    facts = hosts[gateways[0]]
    tiers = facts.get("herd_tiers")
    if not isinstance(tiers, Sequence) or isinstance(tiers, str) or not tiers:
        yield (
            f"fact herd_tiers: expected a list of the tiers behind the gateway on {gateways[0]}, found {tiers!r}: name "
            "the head and the routers there (docs/reference/gateway.md)."
        )
        return
    yield from (str(problem) for problem in _all_problems(tiers, gateways[0], groups, hosts))


def _all_problems(tiers: Sequence[Any], gateway: str, groups: Groups, hosts: Hosts) -> Iterator[InvalidInputError]:
    seen: dict[str, set[Any]] = {"name": set(), "gateway_port": set(), "host and kind": set()}
    engines = {
        port_of(kind, hosts[gateway]): GROUPS[kind] for kind in GROUPS if gateway in groups.get(GROUPS[kind], ())
    }
    for tier in tiers:
        if not isinstance(tier, Mapping) or not is_service(tier):
            yield InvalidInputError(
                "herd_tiers with a host for each tier", repr(tier), "name the head's or router's host"
            )
            continue
        found = list(_tier_problems(tier, groups, hosts))
        yield from found
        if found:
            continue
        own: dict[str, Any] = {
            "name": tier["name"],
            "gateway_port": int(tier["gateway_port"]),
            "host and kind": f"{tier['host']} and {tier['kind']}",
        }
        for what, value in own.items():
            if value in seen[what]:
                yield InvalidInputError(
                    f"herd_tiers with a different {what} for each tier", f"{value} twice", "correct it"
                )
            seen[what].add(value)
        if own["gateway_port"] in engines:
            yield InvalidInputError(
                f"a gateway_port of the tier {tier['name']} that is free on {gateway}",
                f"{own['gateway_port']}, the port of its {engines[own['gateway_port']]}",
                "choose another port for the gateway",
            )


def _tier_problems(tier: Mapping[str, Any], groups: Groups, hosts: Hosts) -> Iterator[InvalidInputError]:
    where = f"herd_tiers: {tier.get('name')}"
    unknown = sorted(set(tier) - _KEYS)
    if unknown:
        yield InvalidInputError(f"{where} with {', '.join(sorted(_KEYS))}", unknown[0], "remove it")
        return
    if not isinstance(tier.get("name"), str) or not _NAME.fullmatch(tier["name"]):
        yield InvalidInputError(
            "names in herd_tiers of lower-case letters, digits and hyphens",
            repr(tier.get("name")),
            "choose another name",
        )
    port = str(tier.get("gateway_port"))
    if not re.fullmatch("[0-9]{4,5}", port) or not 1024 <= int(port) <= 65535:
        yield InvalidInputError(
            f"{where} with a gateway_port between 1024 and 65535", repr(tier.get("gateway_port")), "choose a free port"
        )
    kind, host = tier.get("kind"), str(tier.get("host"))
    if kind not in GROUPS:
        yield InvalidInputError(f"{where} with a kind of {' or '.join(GROUPS)}", repr(kind), "correct it")
        return
    if host not in groups.get(GROUPS[kind], ()):
        yield InvalidInputError(
            f"{where} at a host of the group {GROUPS[kind]}", host, "correct herd_tiers or the group"
        )
        return
    yield from _engine_problems(where, str(kind), host, hosts[host])


def _engine_problems(where: str, kind: str, host: str, facts: Mapping[str, Any]) -> Iterator[InvalidInputError]:
    """List what keeps the gateway from using the engine of a host."""
    tls = tls_fact(kind, facts)
    if tls:
        yield InvalidInputError(
            f"{where} without TLS between the gateway and {host}",
            f"{tls}: {facts[tls]}",
            f"set {tls}: false, and gateway_tls: true for the clients",
        )
    keys = _models(kind, facts)
    if not keys:
        yield InvalidInputError(
            f"{where} with models in fast_router_models of {host}", "none", "name the models that the gateway offers"
        )
    for key in keys:
        if key not in facts["herd_models"]:
            yield InvalidInputError(f"{where} with models that herd_models has", key, "correct the model's name")
