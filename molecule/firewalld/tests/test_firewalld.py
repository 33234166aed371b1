"""Who reaches what where firewalld runs, asked from the hosts themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.lab.testing import ETHERNET, FABRIC, HEAD, NODES, WORKERS

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
def test_firewalld_is_in_charge(on: On, name: str) -> None:
    assert on(name).check_output("firewall-cmd --state") == "running"
    assert on(name).check_output("firewall-cmd --get-default-zone") == "public"


@pytest.mark.parametrize(("name", "rule"), [*((worker, TO_WORKER) for worker in WORKERS), (HEAD, TO_HEAD)])
def test_rules_in_force_are_the_permanent_ones(on: On, name: str, rule: str) -> None:
    zone = ZONES.get(name, "public")
    for mode in ("", "--permanent"):
        found = on(name).check_output(f"firewall-cmd {mode} --zone={zone} --list-rich-rules").splitlines()
        assert sorted(found) == sorted([rule, *TO_AGENT])
    others = {"public", "trusted"} - {zone}
    for other in others:
        assert on(name).check_output(f"firewall-cmd --permanent --zone={other} --list-rich-rules") == ""


@pytest.mark.parametrize("name", NODES)
def test_nothing_is_left_of_the_server_that_gave_the_release(on: On, name: str) -> None:
    assert "50060" not in on(name).check_output(
        "firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones"
    )
    assert not on(name).service("herd-share").is_running


def test_only_the_head_reaches_the_workers(on: On) -> None:
    for name in WORKERS:
        # The head's own connections; another one would take the only place that a client has.
        assert on(HEAD).check_output(f"ss -Htn state established dst {FABRIC[name]}:50052").strip()
        assert not connects(on("mirror"), ETHERNET[name], 50052)
        assert not connects(on(HEAD), ETHERNET[name], 50052)
    assert not connects(on("vllm-node3"), FABRIC["vllm-node2"], 50052)
    assert not connects(on("vllm-node2"), FABRIC["vllm-node3"], 50052)


def test_the_api_is_reached_from_another_machine(on: On) -> None:
    assert connects(on("mirror"), ETHERNET[HEAD], 8000)
    # firewalld opens nothing by itself: a port that was not opened stays closed.
    assert not connects(on("mirror"), ETHERNET[HEAD], 50060)


def test_a_reload_changes_nothing(on: On) -> None:
    for name in NODES:
        on(name).check_output("firewall-cmd --reload")
    test_only_the_head_reaches_the_workers(on)
    test_the_api_is_reached_from_another_machine(on)


def lab(*words: str) -> None:
    # `start` waits for a whole boot, and the head's unit is not up before its workers are ready.
    command = [sys.executable, "-m", "tests.lab", "--name", LAB, *words]
    subprocess.run(command, cwd=Path(__file__).parents[3], check=words[0] != "start", timeout=300)


def answers(host: Host) -> bool:
    said = host.run(f"curl -s -o /dev/null -w %{{http_code}} http://{ETHERNET[HEAD]}:8000/health")
    return said.stdout == "200"


def test_a_head_without_power_comes_back_by_itself(on: On) -> None:
    """Its workers still hold its connections, and serve nobody else, until its readiness check has freed them."""
    namespace = f"herd-{LAB}.{HEAD}"
    stale = on(WORKERS[0]).check_output("ss -Htn state established sport = :50052").split()[3]
    lab("crash", HEAD)
    # The lab keeps the network namespace, with sockets that would still say goodbye; a machine does not.
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
