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
    log.write(sys.argv[1] + "\\n")
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
        log.read_text().splitlines()[0].endswith("add element inet herd_jobs open { 10.100.0.41 . 50053 timeout 60s }")
    )
    channel.close()
    limit = time.monotonic() + 30
    while len(log.read_text().splitlines()) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    assert log.read_text().splitlines()[1] == "delete element inet herd_jobs open { 10.100.0.41 . 50053 }"


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


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/nft").exists(), reason="needs nft and a network namespace of its own"
)
@pytest.mark.parametrize("removal", ["flush ruleset", "flush chain inet herd_jobs input"])
def test_removed_rules_are_restored(herdctl: Path, tmp_path: Path, removal: str) -> None:
    """Use the real nft in its own network namespace, with the role's table."""
    rules = {
        "_slurm_tiers_worker_ports": "50052-50059",
        "_slurm_tiers_addresses": ["10.100.0.41", "10.100.0.42"],
        "_slurm_tiers_user_id": "990",
    }
    table, path = tmp_path / "guard.nft", tmp_path / "guard.sock"
    table.write_text(jinja2.Template(TABLE.read_text(encoding="utf-8")).render(rules) + "\n", encoding="utf-8")
    facts = {
        "schema": 1,
        "socket": str(path),
        "user_id": os.getuid(),
        "first": 50052,
        "last": 50059,
        "addresses": ["10.100.0.41"],
    }
    (tmp_path / "guard.json").write_text(json.dumps({**facts, "table": str(table)}), encoding="utf-8")
    log = tmp_path / "guard.log"
    with log.open("w") as out:
        argv = [sys.executable, "-I", str(herdctl), "job", "guard", "--config", str(tmp_path / "guard.json")]
        process = subprocess.Popen(
            ["unshare", "--net", *argv],
            stdout=out,
            stderr=out,
        )

    def nft(command: str) -> str:
        inside = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "nft", command]
        return subprocess.run(inside, capture_output=True, text=True, check=False).stdout

    def is_whole() -> bool:
        said = nft("list table inet herd_jobs")
        return said.count("reject with tcp reset") == 2 and "10.100.0.41 . 50053" in said

    try:
        channel, answer = ask(path, '{"port": 50053, "address": "10.100.0.41"}')
        assert (answer, is_whole()) == ("open", True)
        nft(removal)
        assert not is_whole()
        # The guard accepts a worker that starts at this moment.
        second, answer = ask(path, '{"port": 50054, "address": "10.100.0.41"}')
        assert answer == "open"
        limit = time.monotonic() + 30
        while "were removed or changed" not in log.read_text() and time.monotonic() < limit:
            time.sleep(0.05)
        assert is_whole(), log.read_text()
        assert "were removed or changed" in log.read_text()
        assert "10.100.0.41 . 50054" in nft("list table inet herd_jobs")
        second.close()
        channel.close()
    finally:
        process.kill()
        process.wait()


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
