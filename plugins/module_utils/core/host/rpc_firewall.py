# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of the rules that keep everybody but the head away from a worker's port.

The refusal is an nftables table of our own, so nobody else's rules are touched and none of theirs can
open the port again. A refused client gets a reset: it knows at once, and so does whoever debugs it.

There is one table on either end. On a worker only the head's address comes in. On the head only the service's
own user gets out to a worker: for a worker all of that host's users have one address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError


@dataclass(frozen=True)
class End:
    """One end of the connections between head and workers: its table, and the unit that loads it at boot."""

    table: str
    unit: str
    role: str
    purpose: str


WORKER = End("herd_rpc", "herd-rpc-firewall.service", "rpc_worker", "Only the head may reach the RPC worker")
HEAD = End(
    "herd_rpc_client",
    "herd-rpc-client.service",
    "head_server",
    "Only the head's own user may reach the RPC workers from here",
)


def worker_rules(address: str, port: int, allowed: Sequence[str], interface: str = "") -> str:
    """Write who comes in.

    :param interface: the fabric's; whoever forges the head's address on another is refused. Any where it is empty.
    """
    if not allowed:
        raise InvalidInputError.plain(
            "No head with a fabric address may use this worker",
            "put one host with herd_fabric_address into the group head_server",
        )
    sources = ", ".join(sorted(set(allowed)))
    # What this host sends to itself, where it is the head too, comes by the loopback interface.
    way = f'iifname {{ "lo", "{interface}" }} ' if interface else ""
    return f"""\
  chain input {{
    type filter hook input priority -10; policy accept;
    {way}ip daddr {address} tcp dport {port} ip saddr {{ {sources} }} accept
    tcp dport {port} reject with tcp reset
  }}
"""


def head_rules(workers: Sequence[str], port: int, user_id: int) -> str:
    """Write who gets out.

    Only openings are looked at, and only those of a process: the kernel's own answers belong to nobody.
    """
    if not workers:
        raise InvalidInputError.plain("There is no worker whose port to close", "put hosts into the group rpc_worker")
    targets = ", ".join(sorted(set(workers)))
    opening = "tcp flags & (syn | ack) == syn"
    return f"""\
  chain output {{
    type filter hook output priority -10; policy accept;
    ip daddr {{ {targets} }} tcp dport {port} {opening} meta skuid != {user_id} reject with tcp reset
  }}
"""


def marker(rules: str) -> str:
    """Name of an empty chain that says, in the kernel, which rules are loaded."""
    return "loaded_" + hashlib.sha256(rules.encode()).hexdigest()[:12]


def ruleset(end: End, rules: str) -> str:
    """Write the table so that loading it replaces the former one in one step."""
    return f"""\
# Written by Ansible (herd.inference, role {end.role}). {end.purpose}.
table inet {end.table}
delete table inet {end.table}
table inet {end.table} {{
  chain {marker(rules)} {{
  }}
{rules}}}
"""
