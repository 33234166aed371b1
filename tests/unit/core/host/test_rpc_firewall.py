# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that only lets the head through."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.host import rpc_firewall

WORKER = ("10.100.0.32", 50052)


def test_the_head_is_accepted_before_everybody_is_refused() -> None:
    text = rpc_firewall.ruleset(rpc_firewall.WORKER, rpc_firewall.worker_rules(*WORKER, ["10.100.0.31"]))
    accept = text.index("ip daddr 10.100.0.32 tcp dport 50052 ip saddr { 10.100.0.31 } accept")
    assert accept < text.index("tcp dport 50052 reject with tcp reset")
    # Loading it again replaces the table in one transaction, and touches no other.
    assert [line for line in text.splitlines() if line.startswith(("table", "delete", "flush"))] == [
        "table inet herd_rpc",
        "delete table inet herd_rpc",
        "table inet herd_rpc {",
    ]


def test_the_heads_address_counts_on_the_fabric_only() -> None:
    rules = rpc_firewall.worker_rules(*WORKER, ["10.100.0.31"], "ib0")
    assert 'iifname { "lo", "ib0" } ip daddr 10.100.0.32 tcp dport 50052 ip saddr { 10.100.0.31 } accept' in rules


def test_on_the_head_only_its_user_may_open_a_connection() -> None:
    rules = rpc_firewall.head_rules(["10.100.0.33", "10.100.0.32"], 50052, 990)
    refused = next(line for line in rules.splitlines() if "reject" in line)
    assert "ip daddr { 10.100.0.32, 10.100.0.33 } tcp dport 50052" in refused
    # A connection that is open already belongs to whom it belongs.
    assert "tcp flags & (syn | ack) == syn meta skuid != 990" in refused
    assert "table inet herd_rpc_client {" in rpc_firewall.ruleset(rpc_firewall.HEAD, rules)


def test_the_marker_changes_with_the_rules_and_with_nothing_else() -> None:
    both = ["10.100.0.31", "10.100.0.34"]
    rules = rpc_firewall.worker_rules(*WORKER, both)
    first = rpc_firewall.marker(rules)
    assert first == rpc_firewall.marker(rpc_firewall.worker_rules(*WORKER, both[::-1]))
    assert first != rpc_firewall.marker(rpc_firewall.worker_rules("10.100.0.32", 50053, both))
    assert first != rpc_firewall.marker(rpc_firewall.worker_rules(*WORKER, both[:1]))
    assert first in rpc_firewall.ruleset(rpc_firewall.WORKER, rules)


def test_empty_list_of_sources_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="No head with a fabric address"):
        rpc_firewall.worker_rules(*WORKER, [])
    with pytest.raises(InvalidInputError, match="group rpc_worker"):
        rpc_firewall.head_rules([], 50052, 990)
