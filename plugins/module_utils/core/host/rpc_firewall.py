# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables rules that close a worker's port to all clients but the head.

The rules are in tables of their own, so other tables are not changed and cannot open the port again. A rejected client
gets a TCP reset, which shows the reason at once.

There is one table on each end. On a worker only the head's address is accepted. With cgroup v1, systemd cannot limit
the addresses of a unit, so the table also limits those that the worker's user may connect to. On the head's host only
the service's own user may connect to a worker, because for a worker all users of that host have one address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError


@dataclass(frozen=True)
class RpcEnd:
    """One end of the RPC connections: its table, and the unit that loads it at boot."""

    table: str
    unit: str
    role: str
    purpose: str


WORKER = RpcEnd("herd_rpc", "herd-rpc-firewall.service", "rpc_worker", "Only the head may reach the RPC worker")
HEAD = RpcEnd(
    "herd_rpc_client",
    "herd-rpc-client.service",
    "head_server",
    "Only the head's own user may reach the RPC workers from here",
)


def worker_rules(
    address: str, port: int, allowed: Sequence[str], interface: str = "", user_id: int | None = None
) -> str:
    """Return the rules of a worker's host.

    :param interface: interface of the fabric, on which alone the head's address counts; empty accepts all interfaces.
    :param user_id: the worker's user, which may then open connections to the allowed addresses only.
    """
    if not allowed:
        raise InvalidInputError.plain(
            "No head with a fabric address may use this worker",
            "put one host with herd_fabric_address into the group head_server",
        )
    sources = ", ".join(sorted(set(allowed)))
    # A head on the same host connects through the loopback interface.
    way = f'iifname {{ "lo", "{interface}" }} ' if interface else ""
    return f"""\
  chain input {{
    type filter hook input priority -10; policy accept;
    {way}ip daddr {address} tcp dport {port} ip saddr {{ {sources} }} accept
    tcp dport {port} reject with tcp reset
  }}
{"" if user_id is None else _user_rules(user_id, sources)}"""


def _user_rules(user_id: int, allowed: str) -> str:
    """Return the rules for the packets that a user sends: answers go anywhere.

    The kernel's own packets belong to no user, so a chain that judges them would stop them too.
    """
    return f"""\
  chain worker {{
    oifname "lo" accept
    ip daddr {{ {allowed} }} accept
    tcp flags & (syn | ack) != syn accept
    reject
  }}
  chain output {{
    type filter hook output priority -10; policy accept;
    meta skuid {user_id} jump worker
  }}
"""


def head_rules(workers: Sequence[str], port: int, user_id: int) -> str:
    """Return the rules of the head's host.

    They match opening segments only: the kernel's own answers belong to no user.
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
    """Return the name of an empty chain that identifies the loaded rules in the kernel."""
    return "loaded_" + hashlib.sha256(rules.encode()).hexdigest()[:12]


def ruleset(end: RpcEnd, rules: str) -> str:
    """Return the ruleset, which replaces a loaded table in one transaction."""
    return f"""\
# Written by Ansible (herd.inference, role {end.role}). {end.purpose}.
table inet {end.table}
delete table inet {end.table}
table inet {end.table} {{
  chain {marker(rules)} {{
  }}
{rules}}}
"""
