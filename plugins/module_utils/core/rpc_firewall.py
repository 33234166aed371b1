# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of the rules that keep everybody but the head away from a worker's port.

The refusal is an nftables table of our own, so nobody else's rules are touched and none of theirs can
open the port again. A refused client gets a reset: it knows at once, and so does whoever debugs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .errors import InvalidInputError

TABLE = "herd_rpc"
UNIT = "herd-rpc-firewall.service"


def _rules(address: str, port: int, allowed: Sequence[str]) -> str:
    sources = ", ".join(sorted(set(allowed)))
    return f"""\
  chain input {{
    type filter hook input priority -10; policy accept;
    ip daddr {address} tcp dport {port} ip saddr {{ {sources} }} accept
    tcp dport {port} reject with tcp reset
  }}
"""


def marker(address: str, port: int, allowed: Sequence[str]) -> str:
    """Name of an empty chain that says, in the kernel, which rules are loaded."""
    return "loaded_" + hashlib.sha256(_rules(address, port, allowed).encode()).hexdigest()[:12]


def ruleset(address: str, port: int, allowed: Sequence[str]) -> str:
    """Write the table so that loading it replaces the former one in one step."""
    if not allowed:
        raise InvalidInputError(
            "the fabric address of the head that may use this worker",
            "none",
            "put one host with herd_fabric_address into the group head_server",
        )
    return f"""\
# Written by Ansible (herd.inference, role rpc_worker). Only the head may reach the RPC worker.
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain {marker(address, port, allowed)} {{
  }}
{_rules(address, port, allowed)}}}
"""


def unit(program: str, path: str) -> str:
    """Write the unit that loads the table at boot, before the worker may start."""
    return f"""\
# Written by Ansible (herd.inference, role rpc_worker).
[Unit]
Description=Firewall in front of the RPC worker of llama.cpp
DefaultDependencies=no
After=local-fs.target nftables.service firewalld.service
Before=network-online.target llama-rpc.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} -f {path}
ExecReload={program} -f {path}

[Install]
WantedBy=multi-user.target
"""
