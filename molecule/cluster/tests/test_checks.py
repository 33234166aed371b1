"""The checks detect failures of the fabric, of processes and of hosts in the lab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, FABRIC, HEAD, NODES, WORKERS, wait_for

On = Callable[[str], Host]
CLONE = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
WORKER = WORKERS[0]
PEERS = {name: [FABRIC[other] for other in NODES if other != name] for name in NODES}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=CLONE,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )


def ask(name: str, module: str, **arguments: Any) -> dict[str, Any]:
    """Run a module on a host."""
    words = [name, "-i", "inventory/lab", "-m", f"herd.inference.{module}", "-a", json.dumps(arguments), "--one-line"]
    done = run(str(BIN / "ansible"), *words)
    found = re.search(r"(?:=>|!) *(\{.*\})", done.stdout, re.DOTALL)
    assert found, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(found[1])
    return answer


def route(name: str = HEAD, **arguments: Any) -> dict[str, Any]:
    given = {"interface": "ib0", "address": FABRIC[name], "peers": PEERS[name], "mtu": 2044, "report_only": True}
    return ask(name, "ib_route", **{**given, **arguments})


def states(answer: dict[str, Any]) -> dict[str, str]:
    return {found["peer"]: found["state"] for found in answer["routes"]}


def lab(*words: str) -> None:
    done = run(sys.executable, "-m", "tests.lab", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def serves(on: On) -> bool:
    return (
        "200" in on(HEAD).run(f"curl -sm 2 -o /dev/null -w %{{http_code}} http://{ETHERNET[HEAD]}:8000/health").stdout
    )


def head_pid(on: On) -> str:
    return str(on(HEAD).check_output("systemctl show -p MainPID --value llama-head"))


@contextmanager
def changed(host: Host, do: str, undo: str) -> Iterator[None]:
    host.check_output(do)
    try:
        yield
    finally:
        host.check_output(undo)


@pytest.mark.parametrize("name", NODES)
def test_every_node_reaches_the_others_over_the_fabric(name: str) -> None:
    found = route(name, echo=True)
    assert found["problems"] == []
    assert set(states(found).values()) == {"fabric"}
    assert all(way["reverse"] and way["reaches"] for way in found["routes"])
    # The fabric of the lab is a veth pair instead of InfiniBand.
    assert found["port"] is None
    assert "expected an RDMA device" in " ".join(route(name, link_layer="InfiniBand")["problems"])


def test_a_route_through_the_ethernet_differs_from_a_missing_route(on: On) -> None:
    peer, other = PEERS[HEAD]
    way = f"{peer}/32 via {ETHERNET[WORKER]} dev eth0"
    with changed(on(HEAD), f"ip route add {way}", f"ip route del {way}"):
        found = route()
    assert states(found) == {peer: "fallback", other: "fabric"}
    assert f"to leave by ib0, found it on eth0 through {ETHERNET[WORKER]}" in " ".join(found["problems"])
    with changed(on(HEAD), f"ip route add blackhole {peer}/32", f"ip route del blackhole {peer}/32"):
        found = route()
    assert states(found) == {peer: "refused", other: "fabric"}
    # An address in a network without a route.
    assert states(route(peers=["10.200.0.1"])) == {"10.200.0.1": "missing"}
    assert "found none at all" in " ".join(route(peers=["10.200.0.1"])["problems"])


def test_the_reverse_path_filter_is_checked(on: On) -> None:
    peer = FABRIC[WORKER]
    # Answers would use another interface, which the strict filter rejects.
    rule, key = f"from {FABRIC[HEAD]}/32 to {peer}/32 table 77", "net.ipv4.conf.ib0.rp_filter"
    do = f"ip route add {peer}/32 dev eth0 table 77 && ip rule add {rule} && sysctl -qw {key}=1"
    undo = f"sysctl -qw {key}=0; ip rule del {rule}; ip route flush table 77"
    with changed(on(HEAD), do, undo):
        found = route(peers=[peer])
    assert [(way["state"], way["reverse"]) for way in found["routes"]] == [("fabric", False)]
    assert "its reverse path filter knows another way" in " ".join(found["problems"])
    assert route()["problems"] == []


def test_full_packets_detect_a_small_mtu(on: On) -> None:
    with changed(on(WORKER), "ip link set ib0 mtu 1400", "ip link set ib0 mtu 2044"):
        assert "expected an MTU of 2044 bytes on ib0, found 1400" in " ".join(route(WORKER)["problems"])
        found = route(peers=[FABRIC[WORKER]], echo=True)
    assert [way["reaches"] for way in found["routes"]] == [False]
    assert "to answer to a packet of 2044 bytes" in " ".join(found["problems"])


def test_a_foreign_process_on_a_workers_port_fails_at_once(on: On) -> None:
    port = "50052"
    hold = f"systemd-run -q --unit=squatter python3 -m http.server --bind 127.0.0.9 {port}"
    with changed(on(HEAD), hold, "systemctl stop squatter"):
        wait_for("the squatter", lambda: port in on(HEAD).run(f"ss -Hltn sport = :{port}").stdout, 20)
        begin = time.monotonic()
        found = ask(HEAD, "rpc_worker_info", port=port, address=FABRIC[HEAD], wait=300)
    assert "found python3" in found["msg"]
    assert time.monotonic() - begin < 150


def test_a_foreign_process_on_the_heads_port_fails_at_once(on: On) -> None:
    hold = "systemd-run -q --unit=squatter python3 -m http.server --bind 127.0.0.1 8009"
    with changed(on(HEAD), hold, "systemctl stop squatter"):
        wait_for("the squatter", lambda: "8009" in on(HEAD).run("ss -Hltn sport = :8009").stdout, 20)
        found = ask(HEAD, "api_health", url="http://127.0.0.1:8009", model="lab-llama", timeout=300)
        named = ask(HEAD, "api_health", url="http://127.0.0.1:8009", model="x", timeout=300, unit="llama-head.service")
    assert "status 404: see what listens at that port" in found["msg"]
    assert "python3" in named["msg"]


def test_api_health_checks_slots_keys_and_speed() -> None:
    found = ask(
        HEAD, "api_health", url=f"http://{ETHERNET[HEAD]}:8000", api_key_file="/etc/herd/head/api-keys",
        model="lab-llama", slots=2, unit="llama-head.service", model_bytes=100 << 20,
    )  # fmt: skip
    assert (found["key_required"], found["wrong_key_refused"], found["reasons"]) == (True, True, False)
    assert found["slots"]["total"] == 2
    assert found["streamed"]["first_token_s"] > 0
    assert found["streamed"]["tokens_per_second"] > 0
    assert found["limit_s"] == 601
    wrong = ask(
        HEAD, "api_health", url=f"http://{ETHERNET[HEAD]}:8000", api_key_file="/etc/herd/head/api-keys",
        model="lab-llama", slots=3,
    )  # fmt: skip
    assert "expected 3 request slots, found 2" in wrong["msg"]


@pytest.mark.parametrize("name", NODES)
def test_programs_run_from_the_current_release(name: str) -> None:
    found = ask(name, "release_info", prefix="/opt/llama.cpp", verify=True)
    assert found["problems"] == []
    assert {program["unit"] for program in found["running"]} == {
        "llama-head.service" if name == HEAD else "llama-rpc.service"
    }
    assert {program["release"] for program in found["running"]} == {found["current"]}
    assert all(release["whole"] for release in found["releases"])


def status(path: Path) -> dict[str, Any]:
    """Return the status. C(bench/run.py status) measures its duration."""
    done = run(
        str(BIN / "ansible-playbook"), "playbooks/status.yml", "-i", "inventory/lab", "-e", f"status_file={path}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_status_shows_all_hosts_even_an_unreachable_one(on: On, tmp_path: Path) -> None:
    found = status(tmp_path / "well.json")
    assert {row["host"]: row["unit"] for row in found["nodes"]} == dict.fromkeys(NODES, "active (running)")
    assert [row["routes"] for row in found["routes"]] == ["2 fabric"] * 3
    assert (found["advisories"], found["problems"]) == ([], [])
    head = head_pid(on)
    lab("crash", WORKER)
    try:
        found = status(tmp_path / "dead.json")
        rows = {row["host"]: row for row in found["nodes"]}
        assert rows[WORKER]["unit"] == "unreachable"
        assert rows[WORKER]["note"]
        assert {rows[name]["unit"] for name in (WORKERS[1],)} == {"active (running)"}
    finally:
        lab("start", WORKER)
    # The head of before says that it is well until its agent has noticed.
    wait_for("another head serves", lambda: head_pid(on) not in ("0", head) and serves(on), 180)
