# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that only lets the head through."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core import rpc_firewall
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError


def test_the_head_is_accepted_before_everybody_is_refused() -> None:
    text = rpc_firewall.ruleset("10.100.0.32", 50052, ["10.100.0.31"])
    accept = text.index("ip daddr 10.100.0.32 tcp dport 50052 ip saddr { 10.100.0.31 } accept")
    assert accept < text.index("tcp dport 50052 reject with tcp reset")
    # Loading it again replaces the table in one transaction, and touches no other.
    assert [line for line in text.splitlines() if line.startswith(("table", "delete", "flush"))] == [
        "table inet herd_rpc",
        "delete table inet herd_rpc",
        "table inet herd_rpc {",
    ]


def test_the_marker_changes_with_the_rules_and_with_nothing_else() -> None:
    first = rpc_firewall.marker("10.100.0.32", 50052, ["10.100.0.31", "10.100.0.34"])
    assert first == rpc_firewall.marker("10.100.0.32", 50052, ["10.100.0.34", "10.100.0.31"])
    assert first != rpc_firewall.marker("10.100.0.32", 50053, ["10.100.0.31", "10.100.0.34"])
    assert first != rpc_firewall.marker("10.100.0.32", 50052, ["10.100.0.31"])
    assert first in rpc_firewall.ruleset("10.100.0.32", 50052, ["10.100.0.31", "10.100.0.34"])


def test_nobody_to_let_in_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="fabric address of the head"):
        rpc_firewall.ruleset("10.100.0.32", 50052, [])


def test_the_worker_waits_for_the_rules() -> None:
    unit = rpc_firewall.unit("/usr/sbin/nft", "/etc/herd/rpc-firewall.nft")
    assert "llama-rpc.service" in next(line for line in unit.splitlines() if line.startswith("Before=network"))
