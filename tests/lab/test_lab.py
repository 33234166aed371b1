# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lab with real hosts: python3 -m pytest tests/lab (as root; about a minute with cached images)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cgroups
from tests.lab.naming import Places, lab_namespace

pytestmark = pytest.mark.lab

CLONE = Path(__file__).resolve().parents[2]
PLACES = Places.of(os.environ)
# Separate names, so that tests do not touch a lab in use.
NAME = f"t{os.getpid()}"
OTHER = f"u{os.getpid()}"
TWO_HOSTS = """
binds = ["${LAB_REPOSITORY}:/srv/repo:ro"]
[hosts.one]
eth = "10.0.0.31"
ib = "10.100.0.31"
disks = { "/opt/small" = "2M" }
[hosts.two]
eth = "10.0.0.32"
ib = "10.100.0.32"
"""


def lab(*words: str, name: str = NAME, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", "--name", name, *words],
        cwd=CLONE,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def on(host: str, *command: str, name: str = NAME, check: bool = True) -> subprocess.CompletedProcess[str]:
    return lab("shell", host, "--", *command, name=name, check=check)


def reaches(host: str, address: str) -> bool:
    return on(host, "ping", "-q", "-c1", "-W1", address, check=False).returncode == 0


def hosts_of(name: str) -> dict[str, dict[str, Any]]:
    for report in json.loads(lab("list", "--json").stdout):
        if report["name"] == name:
            return {host["name"]: host for host in report["hosts"]}
    return {}


def wait_for_boot(host: str, boots: int) -> None:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        if hosts_of(NAME)[host]["boots"] == boots:
            word = lab("shell", "--nsenter", host, "systemctl", "is-system-running", "--wait", check=False)
            if word.stdout.strip() == "running":
                return
        time.sleep(0.1)
    pytest.fail(f"{host} has not booted for the {boots}. time: {hosts_of(NAME)}")


def traces(name: str) -> list[str]:
    """Return all things on this machine that contain the lab's name."""
    found = [str(path) for path in cgroups.folders_of(name)]
    netns = Path("/run/netns")
    found += [str(path) for path in netns.glob(f"herd-{name}*")] if netns.is_dir() else []
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"herd-lab/{name}/" in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            mounts = (process / "mounts").read_text()
        except OSError:
            continue
        if any(word in (b"supervise", f"--machine=herd-{name}".encode()) for word in words) and name.encode() in words:
            found.append(f"process {process.name}")
        if f"herd-lab/{name}/" in mounts:
            found.append(f"mount of process {process.name}")
    for root in (PLACES.run, PLACES.data, Path("/run/systemd/nspawn/propagate")):
        found += [str(path) for path in root.glob(f"*{name}*")]
        found += [str(path) for path in root.glob(f".*{name}*")]
    return found


@pytest.fixture(scope="module", autouse=True)
def machine() -> None:
    done = lab("check", check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine cannot run a lab: {done.stdout}")


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "two.toml"
    path.write_text(TWO_HOSTS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def two(definition: Path) -> Iterator[None]:
    lab("up", "--config", str(definition))
    yield
    lab("down")
    assert traces(NAME) == []


@pytest.mark.usefixtures("two")
def test_hosts_reach_only_each_other_on_both_networks() -> None:
    assert reaches("one", "10.0.0.32")
    assert reaches("one", "10.100.0.32")
    assert on("one", "cat", "/sys/class/net/ib0/mtu").stdout.strip() == "2044"
    assert on("one", "ping", "-q", "-c1", "two-ib", check=False).returncode == 0
    assert "default" not in on("one", "ip", "route").stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert "10.0.0.0/24" not in routes
    assert "10.100.0.0/24" not in routes


@pytest.mark.usefixtures("two")
def test_second_up_changes_nothing(definition: Path) -> None:
    before = hosts_of(NAME)
    on("one", "touch", "/root/mine")
    lab("up", "--config", str(definition))
    assert hosts_of(NAME) == before
    on("one", "test", "-e", "/root/mine")


@pytest.mark.usefixtures("two")
def test_another_definition_under_the_same_name_is_refused() -> None:
    done = lab("up", check=False)
    assert done.returncode == 1
    assert "exists with another definition" in done.stderr


@pytest.mark.usefixtures("two")
def test_packages_are_installed_from_the_local_repository() -> None:
    on("one", "apt-get", "-q", "update")
    on("one", "apt-get", "-q", "-y", "install", "python3-requests")
    on("one", "python3", "-c", "import requests")


@pytest.mark.usefixtures("two")
def test_write_to_a_full_disk_fails() -> None:
    done = on("one", "dd", "if=/dev/zero", "of=/opt/small/file", "bs=1M", "count=3", check=False)
    assert "No space left on device" in done.stderr
    on("one", "rm", "/opt/small/file")


@pytest.mark.usefixtures("two")
def test_one_network_is_cut_while_the_other_stays() -> None:
    lab("cut", "two", "ib")
    assert hosts_of(NAME)["two"]["cut"] == ["ib"]
    assert reaches("one", "10.0.0.32")
    assert not reaches("one", "10.100.0.32")
    lab("heal", "two", "ib")
    assert reaches("one", "10.100.0.32")
    assert hosts_of(NAME)["two"]["cut"] == []


@pytest.mark.usefixtures("two")
def test_host_without_ethernet_can_be_entered() -> None:
    lab("cut", "two", "eth")
    assert lab("shell", "--nsenter", "two", "hostname").stdout.strip() == "two"
    assert not reaches("one", "10.0.0.32")
    lab("cut", "two", "eth", "--heal")
    assert reaches("one", "10.0.0.32")


def seconds_to_send(mebibytes: int, address: str) -> float:
    """Return the seconds that `one` needs to send some MiB to `two`."""
    receiver = (
        "import socket; s = socket.create_server(('0.0.0.0', 9999)); c = s.accept()[0]\n"
        "while c.recv(65536): pass\n"
        "c.sendall(b'x')"
    )
    sender = (
        "import socket, time; s = socket.create_connection(('{0}', 9999)); t = time.monotonic()\n"
        "s.sendall(bytes({1} << 20)); s.shutdown(1); s.recv(1); print(time.monotonic() - t)"
    )
    on("two", "systemd-run", "--quiet", "--collect", "--unit=receiver", "python3", "-c", receiver)
    time.sleep(0.5)
    return float(on("one", "python3", "-c", sender.format(address, mebibytes)).stdout)


@pytest.mark.usefixtures("two")
def test_slowed_network_leaves_the_other_at_full_speed() -> None:
    lab("slow", "one", "ib", "--rate", "16mbit")
    # 4 MiB at 16 Mbit/s are two seconds.
    assert 1.5 < seconds_to_send(4, "10.100.0.32") < 4
    assert seconds_to_send(4, "10.0.0.32") < 1
    lab("slow", "one", "ib", "--off")
    assert seconds_to_send(4, "10.100.0.32") < 1


@pytest.mark.usefixtures("two")
def test_crashed_host_starts_again_with_its_disk() -> None:
    on("two", "sh", "-c", "echo kept > /root/file; echo kept > /opt/kept")
    lab("crash", "two")
    assert hosts_of(NAME)["two"]["state"] == "crashed"
    assert not reaches("one", "10.0.0.32")
    lab("start", "two")
    assert reaches("one", "10.100.0.32")
    assert on("two", "cat", "/root/file").stdout == "kept\n"
    lab("crash", "two", "--restart")
    assert on("two", "systemctl", "is-system-running").stdout.strip() == "running"


@pytest.mark.usefixtures("two")
def test_host_returns_after_a_reboot_but_not_after_a_power_off(definition: Path) -> None:
    boots = hosts_of(NAME)["one"]["boots"]
    on("one", "systemctl", "reboot", check=False)
    wait_for_boot("one", boots + 1)
    on("one", "systemctl", "poweroff", check=False)
    limit = time.monotonic() + 30
    while hosts_of(NAME)["one"]["state"] != "off":
        assert time.monotonic() < limit, hosts_of(NAME)
        time.sleep(0.1)
    assert not reaches("two", "10.0.0.31")
    lab("up", "--config", str(definition))
    assert on("one", "systemctl", "is-system-running").stdout.strip() == "running"


@pytest.mark.usefixtures("two")
def test_two_labs_with_the_same_addresses_are_isolated(definition: Path) -> None:
    try:
        lab("up", "--config", str(definition), name=OTHER)
        on("one", "touch", "/root/of-the-first")
        assert on("one", "ls", "/root", name=OTHER).stdout == ""
        lab("cut", "two", "ib", name=OTHER)
        assert reaches("one", "10.100.0.32")
        lab("crash", "one", name=OTHER)
        assert hosts_of(NAME)["one"]["state"] == "running"
    finally:
        lab("down", name=OTHER)
    assert traces(OTHER) == []
    assert reaches("one", "10.0.0.32")


# Signs of the steps of `up` in their order; `up` is killed at the first sign of a step.
STEPS = {
    "definition": PLACES.state(OTHER) / "lab.json",
    "network": Path("/run/netns") / lab_namespace(OTHER),
    "first host": PLACES.host_state(OTHER, "one"),
    "last host": PLACES.host_state(OTHER, "two") / "state.json",
}


@pytest.mark.parametrize("step", STEPS)
def test_next_up_continues_a_killed_one(definition: Path, step: str) -> None:
    kill_up(definition, STEPS[step])
    try:
        lab("up", "--config", str(definition), name=OTHER)
        assert {host["state"] for host in hosts_of(OTHER).values()} == {"running"}
        assert on("one", "systemctl", "is-system-running", name=OTHER).stdout.strip() == "running"
    finally:
        lab("down", name=OTHER)
    assert traces(OTHER) == []


@pytest.mark.parametrize("step", STEPS)
def test_leftovers_of_a_killed_up_are_removed(definition: Path, step: str) -> None:
    kill_up(definition, STEPS[step])
    # Only this lab: another process may be making a lab that is incomplete too.
    lab("clean", OTHER)
    assert traces(OTHER) == []


def kill_up(definition: Path, sign: Path) -> None:
    """Kill an `up` once the sign exists; repeat if it ended before the kill."""
    argv = [sys.executable, "-m", "tests.lab", "--name", OTHER, "up", "--config", str(definition)]
    for _each in range(5):
        process = subprocess.Popen(argv, cwd=CLONE, stderr=subprocess.DEVNULL)
        while not sign.exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not (PLACES.state(OTHER) / "complete").exists():
            return
        lab("down", name=OTHER)
    pytest.fail(f"no up was slow enough to be killed at {sign}")


def test_host_ends_with_its_killed_supervisor(definition: Path) -> None:
    try:
        lab("up", "--config", str(definition), name=OTHER)
        state = json.loads((PLACES.host_state(OTHER, "one") / "state.json").read_text())
        os.kill(state["supervisor"], signal.SIGKILL)
        limit = time.monotonic() + 10
        while Path(f"/proc/{state['nspawn']}").exists():
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert hosts_of(OTHER)["one"]["state"] == "absent"
        lab("up", "--config", str(definition), name=OTHER)
        assert {host["state"] for host in hosts_of(OTHER).values()} == {"running"}
    finally:
        lab("down", name=OTHER)
    assert traces(OTHER) == []


NESTED = """
binds = ["${LAB_REPOSITORY}:/srv/repo:ro"]
[hosts.outer]
eth = "10.0.0.50"
binds = ["${CLONE}:/clone:ro", "${HERD_CACHE}/lab:/cache/lab"]
# An overlay cannot hold another one's upper folder.
disks = { "/var/lib/herd-lab" = "1500M" }
"""


def test_lab_runs_on_a_machine_with_systemd_and_cgroup2_alone(tmp_path: Path) -> None:
    """Start a lab in a host of the lab, which is such a machine."""
    (tmp_path / "outer.toml").write_text(NESTED, encoding="utf-8")
    inner = "cd /clone && export HERD_CACHE=/cache PYTHONDONTWRITEBYTECODE=1 && python3 -m tests.lab --name in"
    try:
        lab("up", "--config", str(tmp_path / "outer.toml"), name=OTHER)
        on("outer", "apt-get", "-q", "update", name=OTHER)
        missing = on("outer", "sh", "-c", f"{inner} check", name=OTHER, check=False)
        assert missing.returncode == 1
        assert (
            "apt-get install -y --no-install-recommends apt-utils mmdebstrap socat systemd-container" in missing.stdout
        )
        on("outer", "sh", "-c", f"{inner} check --install", name=OTHER)
        on("outer", "sh", "-c", f"{inner} up", name=OTHER)
        assert on("outer", "sh", "-c", f"{inner} shell mirror hostname", name=OTHER).stdout == "mirror\n"
        scopes = on("outer", "systemctl", "list-units", "--plain", "--no-legend", "herd-lab-in*", name=OTHER).stdout
        assert len(scopes.splitlines()) == 4
        on("outer", "sh", "-c", f"{inner} crash --restart vllm-node2", name=OTHER)
        on("outer", "sh", "-c", f"{inner} down", name=OTHER)
        left = on("outer", "systemctl", "list-units", "--all", "--plain", "--no-legend", "herd*", name=OTHER)
        assert left.stdout == ""
        assert on("outer", "ip", "netns", name=OTHER).stdout == ""
    finally:
        lab("down", name=OTHER)
    assert traces(OTHER) == []
