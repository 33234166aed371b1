# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as it is installed: its heartbeat on a socket, its permitted clients, and the operator's commands.

This host has no units of the herd. The scenario worker_lost tests the agent's actions on units.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from ansible_collections.herd.inference.plugins.module_utils.core.supervision import heartbeat, metrics_text
from tests.unit.agent.agent_config import AGENT
from tests.unit.agent.conftest import run_herdctl


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"
Start = Callable[..., "tuple[Path, int]"]


@pytest.fixture
def start(herdctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start agents on loopback, whose other addresses are other nodes. A double of systemctl knows no unit."""
    started: list[subprocess.Popen[bytes]] = []
    program = tmp_path / "no-units" / "systemctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf 'LoadState=not-found\\nActiveState=inactive\\n'\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def begin(**more: Any) -> tuple[Path, int]:
        port = free_port()
        settings = {
            **AGENT,
            "node": "vllm-node2",
            "address": "127.0.0.2",
            "port": port,
            "peers": {"vllm-node1": "127.0.0.1", "vllm-node2": "127.0.0.2"},
            "run_dir": str(tmp_path / "run"),
            **more,
        }
        path = tmp_path / "agent.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(tmp_path / "notify"))
            channel.settimeout(20)
            program = [sys.executable, "-I", str(herdctl), "agent", "--config", str(path)]
            environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
            started.append(subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL))
            assert channel.recv(64) == b"READY=1"
            # The agent repeats READY=1 with each watchdog message, because the first one may be lost.
            assert channel.recv(64) == b"READY=1\nWATCHDOG=1"
        return path, port

    yield begin
    for process in started:
        process.kill()
        process.wait()


def ask(port: int, path: str = heartbeat.PATH, method: str = "GET", source: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.2", port, timeout=10, source_address=(source, 0))
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_heartbeat_sequence_increases(start: Start) -> None:
    _path, port = start()
    first = heartbeat.read(ask(port)[1], "vllm-node2")
    deadline = time.monotonic() + 20
    while (later := heartbeat.read(ask(port)[1])).sequence == first.sequence and time.monotonic() < deadline:
        time.sleep(0.1)
    assert later.sequence > first.sequence
    assert later.agent == first.agent
    assert later.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert (later.worker, later.head) == (None, None)


@pytest.mark.parametrize(
    ("name", "status", "gpus"),
    [
        ("v100s-460.xml", 0, (heartbeat.Gpu(0, "Tesla V100S-PCIE-32GB", 31689, 32510, 66, 97),)),
        # The module gpu_memory reports the driver's fault; heartbeats continue.
        ("mismatch.txt", 18, ()),
        ("lost.txt", 15, ()),
    ],
)
def test_heartbeat_reports_gpus(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int, gpus: tuple[Any, ...]
) -> None:
    """A double in the search path prints a captured output of the real program."""
    folder, asked = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$*" = "-q -x" ] && cat {FIXTURES / name} && echo >> {asked}\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    _path, port = start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = heartbeat.read(ask(port)[1])
        if asked.exists() and found.gpus == gpus:
            break
        time.sleep(0.1)
    assert asked.exists()
    assert found.gpus == gpus


def test_heartbeats_continue_while_systemd_is_stalled(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double in the search path prints the state of a running unit, and hangs on request."""
    folder, stalled = tmp_path / "bin", tmp_path / "stalled"
    folder.mkdir()
    program = folder / "systemctl"
    said = f"MainPID={os.getpid()}\\nNRestarts=0\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\nJob=\\n"
    program.write_text(f"#!/bin/sh\nwhile [ -e {stalled} ]; do sleep 0.2; done\nprintf '{said}'\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    _path, port = start()

    def wait_for(is_so: Callable[[heartbeat.Worker], bool]) -> heartbeat.Heartbeat:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = heartbeat.read(ask(port)[1])
            if found.worker is not None and is_so(found.worker):
                return found
            time.sleep(0.1)
        raise AssertionError(found)

    first = wait_for(lambda worker: worker.pid == os.getpid())
    stalled.touch()
    try:
        later = wait_for(lambda worker: worker.unit_age_s >= 5)
    finally:
        stalled.unlink()
    # Several heartbeats: each tick of the agent makes one.
    assert later.sequence >= first.sequence + 3
    assert later.worker is not None
    assert (later.worker.pid, later.worker.active) == (os.getpid(), "active")
    assert wait_for(lambda worker: worker.unit_age_s < 2).sequence > later.sequence


def test_other_paths_are_not_found(start: Start) -> None:
    _path, port = start()
    asked = [
        ("GET", "/", 404),
        ("GET", "/heartbeat/../../etc/passwd", 404),
        ("POST", heartbeat.PATH, 501),
        ("PUT", heartbeat.PATH, 501),
    ]
    assert [(method, path, ask(port, path, method)[0]) for method, path, _status in asked] == asked


def test_other_hosts_get_no_answer(start: Start) -> None:
    _path, port = start()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(port, source="127.0.0.77")
    assert ask(port)[0] == 200


def test_silent_client_does_not_block_another(start: Start) -> None:
    _path, port = start()
    silent = [socket.create_connection(("127.0.0.2", port), timeout=10) for _each in range(60)]
    try:
        assert ask(port, source="127.0.0.2")[0] == 200
    finally:
        for one in silent:
            one.close()


def test_silent_clients_block_others_only_briefly(start: Start) -> None:
    _path, port = start()
    silent = [socket.create_connection(("127.0.0.2", port), timeout=10) for _each in range(60)]
    try:
        deadline, status = time.monotonic() + 30, 0
        while status != 200 and time.monotonic() < deadline:
            try:
                status = ask(port)[0]
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
        assert status == 200
    finally:
        for one in silent:
            one.close()


def test_agent_survives_garbage(start: Start) -> None:
    _path, port = start()
    for garbage in (b"\x00" * 1000, b"GET " + b"a" * 70000, b"\x0e" + b"\xff" * 8, os.urandom(500) + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.2", port), timeout=10) as client:
            client.sendall(garbage)
    assert ask(port)[0] == 200


def test_status_shows_answering_and_silent_nodes(herdctl: Path, start: Start) -> None:
    path, _port = start()
    found = run_herdctl(herdctl, "status", "--config", str(path), "--json")
    data = json.loads(found.stdout)
    # No agent listens at node1's address, but its host answers.
    assert data["nodes"]["vllm-node1"]["seen"] == "refused"
    assert data["nodes"]["vllm-node2"]["heartbeat"]["node"] == "vllm-node2"
    assert (found.returncode, data["well"]) == (1, False)
    table = run_herdctl(herdctl, "status", "--config", str(path)).stdout
    assert "no agent" in table
    assert "no head has answered" in table


def test_watch_prints_once_into_a_pipe(herdctl: Path, start: Start) -> None:
    path, _port = start(address="127.0.0.1", peers={"vllm-node2": "127.0.0.1"})
    found = run_herdctl(herdctl, "watch", "--config", str(path))
    assert found.returncode == 0
    assert "\x1b" not in found.stdout
    assert found.stdout.startswith("NODE")


def test_documented_program_names_run_herdctl(herdctl: Path, start: Start, tmp_path: Path) -> None:
    path, _port = start(address="127.0.0.1", peers={"vllm-node2": "127.0.0.1"})
    for name, first in (("llama-cluster-monitor", "NODE"), ("llama-service-status", "NODE")):
        link = tmp_path / name
        link.symlink_to(herdctl)
        found = run_herdctl(link, "--config", str(path))
        assert (found.returncode, found.stdout[:4]) == (0, first), found.stderr


def test_hold_is_published_and_expires(herdctl: Path, start: Start) -> None:
    path, port = start()

    def hold() -> heartbeat.Hold | None:
        return heartbeat.read(ask(port)[1]).hold

    def wait_for(is_held: bool) -> heartbeat.Hold | None:
        deadline = time.monotonic() + 20
        while ((found := hold()) is not None) != is_held and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    done = run_herdctl(herdctl, "hold", "--config", str(path), "--seconds", "90", "--reason", "a new\x1b[2J cable")
    assert done.returncode == 0, done.stderr
    found = wait_for(True)
    assert found is not None
    assert found.reason == "a new [2J cable"
    assert 0 < found.seconds <= 90
    assert run_herdctl(herdctl, "resume", "--config", str(path)).returncode == 0
    assert wait_for(False) is None
    run_herdctl(herdctl, "hold", "--config", str(path), "--seconds", "5")
    assert wait_for(True) is not None
    assert wait_for(False) is None


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["hold", "--seconds", "0"], 2, "1 to 86400 seconds"),
        (["hold", "--seconds", "1e9"], 2, "1 to 86400 seconds"),
        (["probe"], 2, "a head that runs on this node"),
        (["query", "hello"], 2, "a head that runs on this node"),
        (["drain"], 2, "a head that runs on this node"),
    ],
)
def test_unsuitable_node_is_reported(
    herdctl: Path, tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    path = tmp_path / "agent.json"
    path.write_text(
        json.dumps({**AGENT, "run_dir": "/nowhere"}),
        encoding="utf-8",
    )
    found = run_herdctl(herdctl, *arguments, "--config", str(path))
    assert (found.returncode, words in found.stderr) == (status, True), found.stderr


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2}',
        json.dumps({**AGENT, "port": "p"}),
        json.dumps({**AGENT, "limits": {"silent": 3}}),
        json.dumps({**AGENT, "limits": {"backoff_s": []}}),
        json.dumps({**AGENT, "disks": {}}),
    ],
)
def test_invalid_configuration_gives_one_sentence(herdctl: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(content, encoding="utf-8")
    found = run_herdctl(herdctl, "agent", "--config", str(path))
    assert found.returncode == 2
    assert "expected the agent's configuration" in found.stderr
    assert "Traceback" not in found.stderr


def metrics(port: int, source: str = "127.0.0.2") -> dict[str, float]:
    """Ask for the metrics, and read them as Prometheus does."""
    status, body = ask(port, metrics_text.PATH, source=source)
    assert status == 200, body
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_scrapers_read_the_metrics_and_nothing_else(start: Start) -> None:
    _path, port = start(scrapers=["127.0.0.3"])
    asked = [
        ("127.0.0.3", metrics_text.PATH, 200),
        ("127.0.0.3", heartbeat.PATH, 403),
        ("127.0.0.1", metrics_text.PATH, 403),
        ("127.0.0.1", heartbeat.PATH, 200),
        ("127.0.0.2", metrics_text.PATH, 200),
    ]
    assert [(source, path, ask(port, path, source=source)[0]) for source, path, _status in asked] == asked
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(port, metrics_text.PATH, source="127.0.0.77")


def test_metrics_describe_the_agent_and_its_disks(start: Start, tmp_path: Path) -> None:
    body = b'{"written": [[0, 700], [1000, 1300]]}'
    record = hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body + b"\n"
    (tmp_path / ".m.gguf.written").write_bytes(record)
    (tmp_path / ".m.gguf.incoming").write_bytes(b"x")
    (tmp_path / ".bad.gguf.written").write_bytes(b"no record")
    _path, port = start(disks={"paths": ["/"], "low_gib": 0, "full_gib": 0}, models_dir=str(tmp_path))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = metrics(port)
        if "herd_download_written_bytes m.gguf" in found and "herd_disk_state / ok" in found:
            break
        time.sleep(0.3)
    assert found["herd_download_written_bytes m.gguf"] == 1000
    assert "herd_download_written_bytes bad.gguf" not in found
    assert found["herd_disk_size_bytes /"] > 0
    assert abs(found["herd_agent_start_time_seconds"] - time.time()) < 600
    assert found["herd_node_held"] == 0
    assert found["herd_agent_cpu_seconds_total"] > 0
    assert [name for name in found if name.startswith("herd_agent_info vllm-node2 ")]
    # The units are not installed here, and have no series; neither has a GPU without nvidia-smi.
    assert not [name for name in found if name.startswith(("herd_unit", "herd_engine", "herd_gpu"))]


def test_hung_driver_does_not_delay_the_metrics(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho >> {asked}\nexec sleep 600\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    _path, port = start()
    deadline = time.monotonic() + 20
    while not asked.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    found = metrics(port)
    assert asked.exists()
    # Before the first answer, nothing is known of the GPUs.
    assert not [name for name in found if name.startswith("herd_gpu_memory")]
    assert found["herd_node_held"] == 0


def test_metrics_have_the_gpus(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat {FIXTURES / 'v100s-460.xml'}\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    _path, port = start()
    deadline = time.monotonic() + 30
    while "herd_gpu_up" not in (found := metrics(port)) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert found["herd_gpu_up"] == 1
    assert found["herd_gpu_temperature_celsius 0"] == 66
    assert found["herd_gpu_sample_age_seconds"] < 60
