# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that only lets the head through."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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


#: Connects as a user to each address, and prints what the kernel said.
CONNECT = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
for address in sys.argv[2:]:
    with socket.socket() as client:
        client.settimeout(0.3)
        try:
            client.connect((address, 9))
        except OSError as error:
            print(type(error).__name__)
"""


def test_without_a_user_a_worker_has_no_rules_for_its_own_packets() -> None:
    assert "output" not in rpc_firewall.worker_rules(*WORKER, ["10.100.0.31"], "ib0")


@pytest.mark.skipif(shutil.which("nft", path="/usr/sbin:/sbin") is None, reason="no nft on this machine")
def test_user_of_the_worker_reaches_the_head_only(tmp_path: Path) -> None:
    rules = rpc_firewall.worker_rules(*WORKER, ["10.100.0.31"], "ib0", user_id=54321)
    (tmp_path / "worker.nft").write_text(rpc_firewall.ruleset(rpc_firewall.WORKER, rules), encoding="utf-8")
    network = (
        "ip link set lo up; ip link add ib0 type veth peer name other; ip address add 10.100.0.32/24 dev ib0; "
        "ip link set ib0 up; ip link set other up"
    )
    (tmp_path / "connect.py").write_text(CONNECT, encoding="utf-8")
    tmp_path.chmod(0o755)

    def said_to(user: int) -> list[str]:
        # The head, another host of the fabric, and the worker's own host.
        connect = f"{sys.executable} {tmp_path}/connect.py {user} 10.100.0.31 10.100.0.40 10.100.0.32"
        script = f"{network}; /usr/sbin/nft -f {tmp_path}/worker.nft; {connect}"
        done = subprocess.run(["unshare", "--net", "sh", "-ec", script], capture_output=True, text=True, check=False)
        if "Operation not permitted" in done.stderr:
            pytest.skip("needs root, to make a network namespace")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    # No host answers on this network; a refusal is the table's, or on the own host that nothing listens.
    assert said_to(54321) == ["TimeoutError", "ConnectionRefusedError", "ConnectionRefusedError"]
    assert said_to(54322) == ["TimeoutError", "TimeoutError", "ConnectionRefusedError"]
