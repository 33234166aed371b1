# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check an inventory before a playbook changes a host.

An inventory is its groups and the facts (C(herd_*), addresses, gathered facts) of its hosts.
Each check yields sentences that name the host or group, what was expected, what was found, and the remedy.
All problems are reported together, so that one run of preflight is enough to fix an inventory.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..gateway import service_tiers
from ..host.paths import is_system
from ..host.platforms import PLATFORMS, el8_core_problem
from ..models import lock as model_lock

#: Facts that must have the same value on all hosts.
SHARED_FACTS = (
    "herd_release",
    "herd_prefix",
    "herd_models_dir",
    "herd_user",
    "herd_rpc_port",
    "herd_api_port",
    "herd_models",
    "herd_model",
)

#: Groups with exactly one host, and the purpose of that host.
SINGULAR_GROUPS = {
    "head_server": "the machine that serves the API; a model has one head",
    "llama_build": "the machine that builds the release; it is built once",
}


@dataclass(frozen=True)
class Inventory:
    """Hosts of each group, and variables of each host by host name."""

    groups: Mapping[str, Sequence[str]]
    hosts: Mapping[str, Mapping[str, Any]]

    def group(self, name: str) -> list[str]:
        return list(self.groups.get(name, ()))


def problems(inventory: Inventory, ansible_version: str) -> list[str]:
    """Return all problems of an inventory, in the order in which to fix them."""
    found = [*_groups(inventory), *_shared_facts(inventory)]
    if found:
        # The other checks need the groups and facts that are missing.
        return found
    return [
        *_prefix(inventory),
        *_fabric(inventory),
        *_ports(inventory),
        *_model(inventory),
        *service_tiers.problems(inventory.groups, inventory.hosts),
        *_platforms(inventory, ansible_version),
    ]


def host_problems(facts: Mapping[str, Any], address: str, interface: str, mtu: int | None = None) -> list[str]:
    """Return the problems of one host's fabric, from its gathered facts.

    :param facts: C(ansible_facts) with the network subset.
    :param mtu: bytes; None if the inventory does not set it.
    """
    here = facts.get(interface.replace("-", "_"))
    addresses = [str(found) for found in facts.get("all_ipv4_addresses", ())]
    if address not in addresses:
        return [
            f"expected herd_fabric_address {address} on an interface of this host, "
            f"found {', '.join(sorted(addresses)) or 'no IPv4 address'}: "
            f"correct the inventory or bring {interface} up with that address."
        ]
    if not isinstance(here, Mapping) or _address_of(here) != address:
        holder = next(
            (name for name in facts.get("interfaces", ()) if _address_of(facts.get(name)) == address), "another"
        )
        return [
            f"expected herd_fabric_address {address} on herd_fabric_interface {interface}, "
            f"found it on {holder}: traffic between the nodes would take the wrong network; "
            f"correct one of the two facts."
        ]
    if mtu is not None and here.get("mtu") not in (None, mtu):
        return [
            f"expected an MTU of {mtu} bytes on {interface} (herd_fabric_mtu), found {here.get('mtu')}: "
            f"set the interface's MTU, or the fact if the network has changed."
        ]
    return []


def _address_of(interface: Any) -> str | None:
    ipv4 = interface.get("ipv4") if isinstance(interface, Mapping) else None
    return str(ipv4.get("address")) if isinstance(ipv4, Mapping) else None


def _groups(inventory: Inventory) -> Iterator[str]:
    for name, purpose in SINGULAR_GROUPS.items():
        members = inventory.group(name)
        if len(members) != 1:
            listed = f"{len(members)} ({', '.join(members)})" if members else "none"
            yield (
                f"group {name}: expected exactly one host ({purpose}), found {listed}: "
                f"leave one host in the group {name} of the inventory."
            )
    if not inventory.group("rpc_worker"):
        yield "group rpc_worker: expected at least one host, found none: name the machines that run an RPC worker."
    for host in sorted(set(inventory.group("head_server")) & set(inventory.group("rpc_worker"))):
        yield (
            f"host {host}: expected a head or a worker, found it in both groups head_server and rpc_worker: "
            f"the head uses its own GPU without a worker; take it out of rpc_worker."
        )
    needed_by: dict[str, tuple[str, ...]] = {
        "node": ("head_server", "rpc_worker", "llama_build", "model_store", "fast_router", "gateway"),
        "llama_release": ("head_server", "rpc_worker", "fast_router"),
        # The agents report the state of the tiers to the one on the gateway's host.
        "node_agent": (
            "head_server",
            "gateway",
            *(["rpc_worker", "fast_router"] if inventory.group("gateway") else []),
        ),
        "model_store": ("head_server",),
        "toolchain": ("llama_build",),
    }
    for group, dependants in needed_by.items():
        for dependant in dependants:
            for host in inventory.group(dependant):
                if host not in inventory.group(group):
                    yield (
                        f"host {host}: expected it in group {group} because it is in {dependant}, found it missing "
                        f"there: add {dependant} to the children of {group}."
                    )


def _shared_facts(inventory: Inventory) -> Iterator[str]:
    members = inventory.group("node")
    for fact in SHARED_FACTS:
        missing = [host for host in members if fact not in inventory.hosts[host]]
        if missing:
            yield (
                f"fact {fact}: expected a value for every node, found none for {', '.join(missing)}: "
                f"set it in group_vars/all."
            )
            continue
        values = [inventory.hosts[host][fact] for host in members]
        if any(value != values[0] for value in values):
            yield (
                f"fact {fact}: expected one value for the whole site, found different ones: "
                f"set it once, in group_vars/all, and nowhere else."
            )


def _prefix(inventory: Inventory) -> Iterator[str]:
    prefix = str(inventory.hosts[inventory.group("node")[0]]["herd_prefix"])
    if not prefix.startswith("/") or ".." in prefix.split("/") or is_system(prefix):
        yield (
            f"fact herd_prefix: expected the absolute path of a folder that is the releases' alone, such as "
            f"/opt/llama.cpp, found {prefix!r}: choose another (remove.yml removes the files in the former one)."
        )


def _fabric(inventory: Inventory) -> Iterator[str]:
    owners: dict[str, str] = {}
    for host in dict.fromkeys(
        host for group in ("head_server", "rpc_worker", "llama_release", "gateway") for host in inventory.group(group)
    ):
        address = inventory.hosts[host].get("herd_fabric_address")
        if not address:
            yield (
                f"host {host}: expected a herd_fabric_address (its address on the InfiniBand network), found none: "
                f"set it in host_vars/{host}.yml."
            )
            continue
        try:
            ipaddress.IPv4Address(str(address))
        except ValueError:
            # An RPC worker only accepts an IPv4 address, and exits with status 0 for a host name.
            yield (
                f"host {host}: expected herd_fabric_address to be an IPv4 address, found {address!r}: "
                f"the RPC worker takes no host name; write the address."
            )
            continue
        if str(address) in owners:
            yield (
                f"host {host}: expected a herd_fabric_address of its own, found {address}, which is "
                f"{owners[str(address)]}'s: correct one of the two."
            )
        owners[str(address)] = host
        if not inventory.hosts[host].get("herd_fabric_interface"):
            yield (
                f"host {host}: expected herd_fabric_interface (such as ib0), found none: set it in group_vars/node.yml."
            )


def _ports(inventory: Inventory) -> Iterator[str]:
    facts = inventory.hosts[inventory.group("node")[0]]
    ports = {}
    for fact in ("herd_rpc_port", "herd_api_port"):
        text = str(facts[fact])
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1024 <= int(text) <= 65535:
            yield (
                f"fact {fact}: expected a port between 1024 and 65535 (the service is not root), "
                f"found {facts[fact]!r}: choose another."
            )
        ports[fact] = text
    if len(set(ports.values())) != len(ports):
        yield f"facts {' and '.join(ports)}: expected two different ports, found {facts['herd_rpc_port']} twice."


def _model(inventory: Inventory) -> Iterator[str]:
    facts = inventory.hosts[inventory.group("head_server")[0]]
    models, key = facts["herd_models"], facts["herd_model"]
    if not isinstance(models, Mapping) or key not in models:
        known = ", ".join(sorted(models)) if isinstance(models, Mapping) else "no mapping at all"
        yield (
            f"fact herd_model: expected one of herd_models ({known}), found {key!r}: "
            f"name a model that is described there."
        )
        return
    # All models are checked, since a plan reads all of them.
    for name, model in models.items():
        yield from model_lock.problems(name, model)
    if isinstance(models[key], Mapping) and not models[key].get("layers"):
        yield f"model {key}: expected a value for layers, found none: complete its entry in herd_models."


def _platforms(inventory: Inventory, ansible_version: str) -> Iterator[str]:
    for host in inventory.group("node"):
        facts = inventory.hosts[host].get("ansible_facts") or {}
        distribution = facts.get("distribution")
        if not distribution:
            continue
        major = str(facts.get("distribution_major_version", ""))
        if major not in PLATFORMS.get(distribution, ()):
            known = ", ".join(f"{name} {'/'.join(versions)}" for name, versions in sorted(PLATFORMS.items()))
            yield (
                f"host {host}: expected one of {known}, found {distribution} {major}: "
                f"install one of these, or extend the roles and PLATFORMS."
            )
        elif facts.get("os_family") == "RedHat" and major == "8":
            yield from filter(None, [el8_core_problem(host, ansible_version)])
