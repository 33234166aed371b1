# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl job: one engine under a step, and the guard of its port. The engine and nft are doubles."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import jinja2
import pytest

from tests.unit.agent.conftest import run_herdctl

TABLE = Path(__file__).parents[4] / "roles/slurm_tiers/templates/job-guard.nft.j2"

# Listens as the engine does, and tells which signals have come to it.
ENGINE = """
import signal, socket, sys, time
def ended(*_each):
    print("asked to end", flush=True)
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, ended)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("serving", flush=True)
time.sleep(120)
"""
NFT = """#!{python}
import pathlib, sys
# What is loaded, and what there is: neither changes anything here.
if sys.argv[1].startswith("-"):
    sys.exit(0)
with pathlib.Path("{log}").open("a") as log:
    log.write(sys.argv[1] + "\\n")
"""


def free_ports(count: int) -> int:
    """The first of some free ports in a row."""
    for first in range(42000, 60000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


class Step:
    """A step under test."""

    def __init__(self, herdctl: Path, folder: Path, **changes: Any) -> None:
        (folder / "engine.py").write_text(ENGINE, encoding="utf-8")
        self.log = folder / "engine.log"
        order = {
            "role": "head",
            "argv": [sys.executable, str(folder / "engine.py"), "{port}"],
            "address": "127.0.0.1",
            "port": free_ports(4),
            "ports": 4,
            "log": str(self.log),
            **changes,
        }
        path = folder / "order.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(herdctl), "job", "step", "--order", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._events: Queue[dict[str, Any]] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._events.put(json.loads(line))

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                found = self._events.get(timeout=1)
            except Empty:
                continue
            if found["event"] == kind:
                return found
        raise AssertionError(f"no event {kind}")

    def tell(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(name="steps")
def _steps() -> Iterator[list[Step]]:
    found: list[Step] = []
    yield found
    for step in found:
        step.end()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


def gone(pid: int) -> bool:
    limit = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    return not is_alive(pid)


def test_a_signal_to_every_process_is_told_and_does_not_reach_the_engine(
    herdctl: Path, tmp_path: Path, steps: list[Step]
) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    engine = step.event("started")["pid"]
    step.event("listening")
    # As Slurm does it: everything that belongs to the step.
    os.kill(engine, signal.SIGTERM)
    os.kill(step.process.pid, signal.SIGTERM)
    assert step.event("signal")["name"] == "SIGTERM"
    step.event("progress")
    assert is_alive(engine)
    step.tell("stop 5\n")
    assert step.event("exit") == {"event": "exit", "status": 0, "wanted": True}
    assert step.process.wait(30) == 0
    assert step.log.read_text() == "serving\nasked to end\n"


def test_a_port_that_is_taken_is_passed_over(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    first = free_ports(4)
    with socket.create_server(("127.0.0.1", first)):
        step = Step(herdctl, tmp_path, port=first)
        steps.append(step)
        assert step.event("listening")["port"] == first + 1


def test_no_port_at_all_is_said(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    first = free_ports(1)
    with socket.create_server(("127.0.0.1", first)):
        step = Step(herdctl, tmp_path, port=first, ports=1)
        steps.append(step)
        assert "expected a free port" in step.event("error")["text"]
        assert step.process.wait(30) == 1


@pytest.mark.parametrize("how", ["killed", "left alone"])
def test_no_engine_outlives_its_step(herdctl: Path, tmp_path: Path, steps: list[Step], how: str) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    engine = step.event("started")["pid"]
    step.event("listening")
    if how == "killed":
        step.process.kill()
    elif step.process.stdin:
        step.process.stdin.close()
    assert gone(engine)


def test_a_step_gives_signs_of_life(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    step.event("started")
    for _each in range(2):
        step.event("alive")


def test_a_worker_tells_of_its_connections(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path, role="worker")
    steps.append(step)
    engine = step.event("started")["pid"]
    with socket.create_connection(("127.0.0.1", step.event("listening")["port"])) as head:
        where = f"127.0.0.1:{head.getsockname()[1]}"
        # It may have told of itself just before.
        facts = [step.event("alive")["worker"] for _each in range(2)][-1]
    assert facts["clients"] == [where]
    assert facts["pid"] == engine
    assert facts["started"] > 0
    assert facts["state"] in "SR"
    assert facts["stale"] == 0
    assert facts["unanswered"] is False


def test_an_engine_that_ends_is_told(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    engine = step.event("started")["pid"]
    step.event("listening")
    os.kill(engine, signal.SIGKILL)
    assert step.event("exit") == {"event": "exit", "status": -9, "wanted": False}
    assert step.process.wait(30) == 1


def test_a_program_that_is_not_there_is_said(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path, argv=["/no/such/engine", "{port}"])
    steps.append(step)
    assert step.event("exit")["wanted"] is False
    assert "/no/such/engine" in step.log.read_text()


def test_a_worker_without_a_guard_does_not_start(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path, role="worker", guard=str(tmp_path / "none.sock"), allow="127.0.0.1")
    steps.append(step)
    assert "herd-job-guard.service" in step.event("error")["text"]


# The guard


@pytest.fixture(name="guard")
def _guard(herdctl: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A guard with a double of nft; its socket, and what nft was told."""
    log, path = tmp_path / "nft.log", tmp_path / "guard.sock"
    program = tmp_path / "bin" / "nft"
    program.parent.mkdir()
    program.write_text(NFT.format(python=sys.executable, log=log), encoding="utf-8")
    program.chmod(0o755)
    rules = {"socket": str(path), "user_id": os.getuid(), "first": 50052, "last": 50059, "addresses": ["10.100.0.41"]}
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


def test_a_port_is_open_for_as_long_as_somebody_holds_it(guard: tuple[Path, Path]) -> None:
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
def test_nothing_else_is_opened(guard: tuple[Path, Path], asked: str) -> None:
    path, log = guard
    channel, answer = ask(path, asked)
    channel.close()
    assert answer == "" or answer.startswith("refused: ")
    assert not log.exists()


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/nft").exists(), reason="needs nft and a network namespace of its own"
)
@pytest.mark.parametrize("removal", ["flush ruleset", "flush chain inet herd_jobs input"])
def test_rules_that_somebody_takes_away_come_back(herdctl: Path, tmp_path: Path, removal: str) -> None:
    """With the real nft, in a network of its own, and the role's own table."""
    rules = {
        "_slurm_tiers_worker_ports": "50052-50059",
        "_slurm_tiers_addresses": ["10.100.0.41", "10.100.0.42"],
        "_slurm_tiers_user_id": "990",
    }
    table, path = tmp_path / "guard.nft", tmp_path / "guard.sock"
    table.write_text(jinja2.Template(TABLE.read_text(encoding="utf-8")).render(rules) + "\n", encoding="utf-8")
    facts = {"socket": str(path), "user_id": os.getuid(), "first": 50052, "last": 50059, "addresses": ["10.100.0.41"]}
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
        # A worker that is to start at this very moment is not refused for it.
        second, answer = ask(path, '{"port": 50054, "address": "10.100.0.41"}')
        assert answer == "open"
        limit = time.monotonic() + 30
        while "took the rules away" not in log.read_text() and time.monotonic() < limit:
            time.sleep(0.05)
        assert is_whole(), log.read_text()
        assert "took the rules away" in log.read_text()
        assert "10.100.0.41 . 50054" in nft("list table inet herd_jobs")
        second.close()
        channel.close()
    finally:
        process.kill()
        process.wait()


def test_a_guard_that_cannot_close_the_ports_does_not_begin(herdctl: Path, tmp_path: Path) -> None:
    rules = {"socket": str(tmp_path / "g"), "user_id": 0, "first": 1, "last": 2, "addresses": []}
    (tmp_path / "guard.json").write_text(json.dumps({**rules, "table": str(tmp_path / "none.nft")}), encoding="utf-8")
    done = run_herdctl(herdctl, "job", "guard", "--config", str(tmp_path / "guard.json"))
    assert done.returncode == 2
    assert "none.nft" in done.stderr
    assert not (tmp_path / "g").exists()


def test_rules_that_cannot_be_read(herdctl: Path, tmp_path: Path) -> None:
    done = run_herdctl(herdctl, "job", "guard", "--config", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "expected the guard's rules" in done.stderr


def test_outside_a_job_one_is_told_how_to_submit(herdctl: Path, tmp_path: Path) -> None:
    done = run_herdctl(herdctl, "job", "run", "--data", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "run playbooks/slurm.yml --tags tiers" in done.stderr
