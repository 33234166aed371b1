# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of the workers' ports, with a double of nft and with the real nft."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from tests.unit.agent.conftest import run_herdctl

TABLE = Path(__file__).parents[4] / "roles/slurm_tiers/templates/job-guard.nft.j2"
NFT = """#!{python}
import pathlib, sys
# Loading and listing the rules changes nothing here.
if sys.argv[1].startswith("-"):
    sys.exit(0)
with pathlib.Path("{log}").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
"""


@pytest.fixture(name="guard")
def _guard(herdctl: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Start a guard with a double of nft; return its socket and the calls of nft."""
    log, path = tmp_path / "nft.log", tmp_path / "guard.sock"
    program = tmp_path / "bin" / "nft"
    program.parent.mkdir()
    program.write_text(NFT.format(python=sys.executable, log=log), encoding="utf-8")
    program.chmod(0o755)
    rules = {
        "schema": 1,
        "socket": str(path),
        "user_id": os.getuid(),
        "first": 50052,
        "last": 50059,
        "addresses": ["10.100.0.41"],
        "table": "/etc/herd/job-guard.nft",
    }
    (tmp_path / "guard.json").write_text(json.dumps(rules), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-I", str(herdctl), "job", "guard", "--config", str(tmp_path / "guard.json")],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 30
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    yield path, log
    process.kill()
    process.wait()


def ask(path: Path, text: str) -> tuple[socket.socket, str]:
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(30)
    limit = time.monotonic() + 30
    while True:
        try:
            channel.connect(str(path))
            break
        except (ConnectionRefusedError, FileNotFoundError):
            assert time.monotonic() < limit
            time.sleep(0.02)
    channel.sendall(f"{text}\n".encode())
    return channel, channel.recv(500).decode().strip()


def test_port_is_open_while_its_holder_is_connected(guard: tuple[Path, Path]) -> None:
    path, log = guard
    channel, answer = ask(path, '{"port": 50053, "address": "10.100.0.41"}')
    assert answer == "open"
    assert (
        log.read_text().splitlines()[0].endswith("add element inet herd_jobs open { 10.100.0.41 . 50053 timeout 60s };")
    )
    channel.close()
    limit = time.monotonic() + 30
    while len(log.read_text().splitlines()) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    assert log.read_text().splitlines()[1].endswith("; delete element inet herd_jobs open { 10.100.0.41 . 50053 };")


@pytest.mark.parametrize(
    "asked",
    [
        '{"port": 22, "address": "10.100.0.41"}',
        '{"port": 50053, "address": "10.0.0.9"}',
        '{"port": "50053", "address": "10.100.0.41"}',
        '{"port": true, "address": "10.100.0.41"}',
        '{"port": 50053, "address": ["10.100.0.41"]}',
        '{"port": 50053, "address": "10.100.0.41; flush ruleset"}',
        "{}",
        "[]",
        "nonsense",
    ],
)
def test_other_ports_and_addresses_are_refused(guard: tuple[Path, Path], asked: str) -> None:
    path, log = guard
    channel, answer = ask(path, asked)
    channel.close()
    assert answer == "" or answer.startswith("refused: ")
    assert not log.exists()


NEEDS_NFT = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/nft").exists(), reason="needs nft and a network namespace of its own"
)


class Node:
    """A network namespace with a real guard, the role's table and two addresses of the fabric."""

    def __init__(self, herdctl: Path, folder: Path) -> None:
        rules = {
            "_slurm_tiers_worker_ports": "50052-50059",
            "_slurm_tiers_addresses": ["10.100.0.41", "10.100.0.42"],
            "_slurm_tiers_user_id": str(os.getuid()),
        }
        table, self.socket, self.log = folder / "guard.nft", folder / "guard.sock", folder / "guard.log"
        table.write_text(jinja2.Template(TABLE.read_text(encoding="utf-8")).render(rules) + "\n", encoding="utf-8")
        facts = {
            "schema": 1,
            "socket": str(self.socket),
            "user_id": os.getuid(),
            "first": 50052,
            "last": 50059,
            "addresses": rules["_slurm_tiers_addresses"],
            "table": str(table),
        }
        (folder / "guard.json").write_text(json.dumps(facts), encoding="utf-8")
        network = "ip link set lo up; for a in 41 42 9; do ip address add 10.100.0.$a/32 dev lo; done"
        argv = [sys.executable, "-I", str(herdctl), "job", "guard", "--config", str(folder / "guard.json")]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", f'{network}; exec "$@"', "sh", *argv], stdout=out, stderr=out
            )
        self.others: list[subprocess.Popen[str]] = []

    def run(self, *argv: str) -> str:
        """Run a program in the namespace and return its output."""
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *argv]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60).stdout.strip()

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program in the namespace, and wait for its first line."""
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *argv]
        self.others.append(subprocess.Popen(inside, stdout=subprocess.PIPE, text=True))
        assert self.others[-1].stdout is not None
        self.others[-1].stdout.readline()
        return self.others[-1]

    def nft(self, command: str) -> str:
        return self.run("nft", command)

    def listen(self, *addresses: str, user: int = 0) -> None:
        """Listen on addresses with ports, as a user."""
        code = (
            "import encodings.idna, os, socket, sys, time; os.setuid(int(sys.argv[1]))\n"
            "kept = [socket.create_server((a.split(':')[0], int(a.split(':')[1]))) for a in sys.argv[2:]]\n"
            "print(1, flush=True); time.sleep(99)"
        )
        self.start(sys.executable, "-IS", "-c", code, str(user), *addresses)

    def connects(self, *ways: str, user: int = 0) -> list[bool]:
        """Return whether a user can connect, for each C(source target port)."""
        code = (
            "import encodings.idna, os, socket, sys; os.setuid(int(sys.argv[1]))\n"
            "for way in sys.argv[2:]:\n"
            "    source, target, port = way.split()\n"
            "    try: socket.create_connection((target, int(port)), 5, (source, 0)); print('yes')\n"
            "    except ConnectionRefusedError: print('no')\n"
        )
        said = self.run(sys.executable, "-IS", "-c", code, str(user), *ways).split()
        assert len(said) == len(ways)
        return [word == "yes" for word in said]

    def end(self) -> None:
        started: list[subprocess.Popen[Any]] = [*self.others, self.process]
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(name="node")
def _node(herdctl: Path, tmp_path: Path) -> Iterator[Node]:
    node = Node(herdctl, tmp_path)
    yield node
    node.end()


@NEEDS_NFT
@pytest.mark.parametrize("removal", ["flush ruleset", "flush chain inet herd_jobs input"])
def test_removed_rules_are_restored(node: Node, removal: str) -> None:
    """Use the real nft in its own network namespace, with the role's table."""

    def is_whole() -> bool:
        said = node.nft("list table inet herd_jobs")
        return said.count("reject with tcp reset") == 4 and "10.100.0.41 . 50053" in said

    channel, answer = ask(node.socket, '{"port": 50053, "address": "10.100.0.41"}')
    assert (answer, is_whole()) == ("open", True)
    node.nft(removal)
    assert not is_whole()
    # The guard accepts a worker that starts at this moment.
    second, answer = ask(node.socket, '{"port": 50054, "address": "10.100.0.41"}')
    assert answer == "open"
    limit = time.monotonic() + 30
    while "were removed or changed" not in node.log.read_text() and time.monotonic() < limit:
        time.sleep(0.05)
    assert is_whole(), node.log.read_text()
    assert "were removed or changed" in node.log.read_text()
    assert "10.100.0.41 . 50054" in node.nft("list table inet herd_jobs")
    second.close()
    channel.close()


STRANGER = 65534
RANKS: dict[str, Any] = {"own": "10.100.0.41", "ports": {"10.100.0.41": [29500, 40001], "10.100.0.42": [40007]}}


@NEEDS_NFT
def test_ports_of_ranks_are_open_to_the_ranks_only(node: Node) -> None:
    channel, answer = ask(node.socket, json.dumps(RANKS))
    assert answer == "closed", node.log.read_text()
    # torch's store listens on all addresses, and after the port is closed.
    node.listen("0.0.0.0:29500", "10.100.0.41:40001", "10.100.0.42:40007", "10.100.0.41:40002")
    ways = [f"{source} 10.100.0.41 {port}" for source in ("10.100.0.41", "10.100.0.42") for port in (29500, 40001)]
    ways.append("10.100.0.41 10.100.0.42 40007")
    assert node.connects(*ways) == [True] * 5
    # Other users of the ranks' nodes have the addresses of the ranks.
    assert node.connects(*ways, "127.0.0.1 127.0.0.1 29500", user=STRANGER) == [False] * 6
    # Another node of the fabric; only this port's neighbour is not closed.
    ways = [f"10.100.0.9 10.100.0.41 {port}" for port in (29500, 40001, 40002)]
    assert node.connects(*ways) == [False, False, True]
    assert node.connects(*ways, user=STRANGER) == [False, False, True]
    # A later request replaces the former one.
    changed = {**RANKS, "ports": {**RANKS["ports"], "10.100.0.41": [29500, 40002]}}
    channel.sendall(f"{json.dumps(changed)}\n".encode())
    assert channel.recv(500) == b"closed\n"
    assert node.connects(*ways) == [False, True, False]
    # The end of the rank opens all of them.
    channel.close()
    limit = time.monotonic() + 30
    while "are removed" not in node.log.read_text() and time.monotonic() < limit:
        time.sleep(0.05)
    assert node.connects(*ways, user=STRANGER) == [True, True, True]


@NEEDS_NFT
def test_port_of_another_user_is_not_closed(node: Node) -> None:
    channel, _answer = ask(node.socket, json.dumps(RANKS))
    node.listen("10.100.0.41:40005", user=STRANGER)
    asked = {**RANKS, "ports": {"10.100.0.41": [40005], "10.100.0.42": []}}
    other, answer = ask(node.socket, json.dumps(asked))
    assert answer == "refused: a process of another user listens on port 40005"
    assert node.connects("10.100.0.9 10.100.0.41 40005", user=STRANGER) == [True]
    channel.close()
    other.close()


@NEEDS_NFT
def test_request_of_many_ranks_is_served_or_refused(node: Node) -> None:
    ports = list(range(20000, 20256))
    most = {"own": "10.100.0.41", "ports": {"10.100.0.41": ports, "10.100.0.42": ports}}
    channel, answer = ask(node.socket, json.dumps(most))
    assert answer == "closed"
    channel.close()


def test_guard_that_cannot_load_its_rules_does_not_start(herdctl: Path, tmp_path: Path) -> None:
    rules = {"schema": 1, "socket": str(tmp_path / "g"), "user_id": 0, "first": 1, "last": 2, "addresses": []}
    (tmp_path / "guard.json").write_text(json.dumps({**rules, "table": str(tmp_path / "none.nft")}), encoding="utf-8")
    done = run_herdctl(herdctl, "job", "guard", "--config", str(tmp_path / "guard.json"))
    assert done.returncode == 2
    assert "none.nft" in done.stderr
    assert not (tmp_path / "g").exists()


def test_unreadable_configuration_is_reported(herdctl: Path, tmp_path: Path) -> None:
    done = run_herdctl(herdctl, "job", "guard", "--config", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "expected the port guard's configuration of schema 1" in done.stderr
