"""Access to the ports of hosts that run firewalld, tested from the hosts themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, FABRIC, HEAD, NODES, WORKERS

On = Callable[[str], Host]
LAB = os.environ["HERD_LAB"]
ZONES = {"vllm-node2": "public", "vllm-node3": "trusted"}
TO_WORKER = f'rule family="ipv4" source address="{FABRIC[HEAD]}" port port="50052" protocol="tcp" accept'
TO_HEAD = 'rule family="ipv4" port port="8000" protocol="tcp" accept'
TO_AGENT = [
    f'rule family="ipv4" source address="{address}" port port="50061" protocol="tcp" accept'
    for address in FABRIC.values()
]


def connects(host: Host, address: str, port: int) -> bool:
    return host.run(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'").succeeded


@pytest.mark.parametrize("name", NODES)
def test_firewalld_runs_with_its_default_zone(on: On, name: str) -> None:
    assert on(name).check_output("firewall-cmd --state") == "running"
    assert on(name).check_output("firewall-cmd --get-default-zone") == "public"


@pytest.mark.parametrize(("name", "rule"), [*((worker, TO_WORKER) for worker in WORKERS), (HEAD, TO_HEAD)])
def test_active_rules_equal_the_permanent_ones(on: On, name: str, rule: str) -> None:
    zone = ZONES.get(name, "public")
    for mode in ("", "--permanent"):
        found = on(name).check_output(f"firewall-cmd {mode} --zone={zone} --list-rich-rules").splitlines()
        assert sorted(found) == sorted([rule, *TO_AGENT])
    others = {"public", "trusted"} - {zone}
    for other in others:
        assert on(name).check_output(f"firewall-cmd --permanent --zone={other} --list-rich-rules") == ""


@pytest.mark.parametrize("name", NODES)
def test_file_share_of_the_release_is_removed(on: On, name: str) -> None:
    assert "50060" not in on(name).check_output(
        "firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones"
    )
    assert not on(name).service("herd-share").is_running


def test_only_the_head_can_connect_to_the_workers(on: On) -> None:
    for name in WORKERS:
        # The head's own connections are enough: a worker serves one client at a time.
        assert on(HEAD).check_output(f"ss -Htn state established dst {FABRIC[name]}:50052").strip()
        assert not connects(on("mirror"), ETHERNET[name], 50052)
        assert not connects(on(HEAD), ETHERNET[name], 50052)
    assert not connects(on("vllm-node3"), FABRIC["vllm-node2"], 50052)
    assert not connects(on("vllm-node2"), FABRIC["vllm-node3"], 50052)


def test_api_port_is_open_to_other_hosts(on: On) -> None:
    assert connects(on("mirror"), ETHERNET[HEAD], 8000)
    # A port without a rule stays closed.
    assert not connects(on("mirror"), ETHERNET[HEAD], 50060)


def test_reload_keeps_the_rules(on: On) -> None:
    for name in NODES:
        on(name).check_output("firewall-cmd --reload")
    test_only_the_head_can_connect_to_the_workers(on)
    test_api_port_is_open_to_other_hosts(on)


def lab(*words: str) -> None:
    # `start` waits for the whole boot, and fails while the head's unit waits for its workers.
    command = [sys.executable, "-m", "tests.lab", "--name", LAB, *words]
    subprocess.run(command, cwd=Path(__file__).parents[3], check=words[0] != "start", timeout=300)


def answers(host: Host) -> bool:
    said = host.run(f"curl -s -o /dev/null -w %{{http_code}} http://{ETHERNET[HEAD]}:8000/health")
    return said.stdout == "200"


def test_head_serves_again_after_a_power_loss(on: On) -> None:
    """The workers keep its old connections, and accept no others, until its readiness check resets them."""
    namespace = f"herd-{LAB}.{HEAD}"
    stale = on(WORKERS[0]).check_output("ss -Htn state established sport = :50052").split()[3]
    lab("crash", HEAD)
    # The lab keeps the network namespace, whose sockets would still close their connections. A machine does not.
    subprocess.run(["ip", "netns", "exec", namespace, "ss", "-K", "state", "fin-wait-1"], check=False)
    held = on(WORKERS[0]).check_output("ss -Htn state established sport = :50052").split()
    assert held[3] == stale
    lab("start", HEAD)
    deadline = time.monotonic() + 180
    while not answers(on("mirror")) and time.monotonic() < deadline:
        time.sleep(2)
    assert answers(on("mirror"))
    said = on(HEAD).check_output("journalctl -q -b -u llama-head -o cat --no-pager")
    assert "resetting connections to vllm-node2 that this host has lost" in said
    assert stale not in on(WORKERS[0]).check_output("ss -Htn state established sport = :50052")
