# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules of a zone are ours, and what must change about them."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.host import firewalld as firewalld_rules

HEAD = 'rule family="ipv4" source address="10.100.0.31" port port="50052" protocol="tcp" accept'
FORMER = 'rule family="ipv4" source address="10.100.0.34" port port="50052" protocol="tcp" accept'
EVERYBODY = 'rule family="ipv4" port port="50052" protocol="tcp" accept'
# What an operator may have in the same zone, as firewall-cmd --list-rich-rules prints it.
FOREIGN = [
    'rule family="ipv4" source address="10.100.0.31" port port="5005" protocol="tcp" accept',
    'rule family="ipv4" source address="10.100.0.31" port port="50052" protocol="udp" accept',
    'rule family="ipv4" source address="10.100.0.9" port port="50052" protocol="tcp" log prefix="x" accept',
    'rule family="ipv4" source address="10.100.0.9" port port="50052" protocol="tcp" reject',
    'rule family="ipv6" port port="50052" protocol="tcp" accept',
    'rule service name="ssh" accept',
    "",
]


def test_each_source_has_a_rule_in_firewallds_format() -> None:
    assert firewalld_rules.rules(50052, ["10.100.0.31", "10.100.0.31"]) == [HEAD]
    assert firewalld_rules.rules(50052, []) == [EVERYBODY]


@pytest.mark.parametrize("source", ["vllm-node1", "10.0.0.1/24", "fe80::1", "10.0.0.256", ""])
def test_an_invalid_source_is_rejected(source: str) -> None:
    with pytest.raises(InvalidInputError, match="IPv4 addresses or networks"):
        firewalld_rules.rules(8000, [source])


@pytest.mark.parametrize(
    ("wanted", "listed", "remove", "add"),
    [
        ([HEAD], [], (), (HEAD,)),
        ([HEAD], [HEAD], (), ()),
        ([HEAD], [FORMER, HEAD], (FORMER,), ()),
        # Restricted later: the rule for everybody must not stay.
        ([HEAD], [EVERYBODY], (EVERYBODY,), (HEAD,)),
        ([], [HEAD, FORMER], (HEAD, FORMER), ()),
        ([], [], (), ()),
    ],
)
def test_only_rules_of_the_port_change(
    wanted: list[str], listed: list[str], remove: tuple[str, ...], add: tuple[str, ...]
) -> None:
    assert firewalld_rules.change(wanted, listed + FOREIGN, 50052) == firewalld_rules.RuleChange(remove, add)
