# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node reports and removes before vLLM starts on it, and the guard of vLLM's paths."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.supervisor import local_state
from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import (
    engine_process,
    job_files,
    key_guard,
    leftovers,
    node_report,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import job_status
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import run as job_run
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import spec as job_spec
from tests.vllm import two_ranks


@pytest.fixture
def spec(tmp_path: Path) -> job_spec.JobSpec:
    found = two_ranks.make_spec(tmp_path, tmp_path / "herdctl", interface="lo")
    job_files.install(found)
    return found


def test_node_reports_its_fabric_and_its_ports(spec: job_spec.JobSpec) -> None:
    master, _second, _third = two_ranks.free_ports()
    with socket.create_server(("127.0.0.1", master)):
        found = node_report.report(replace(spec, master_port_base=master), 1, "n2")
    assert (found.rank, found.host, found.address, found.interface) == (1, "n2", "127.0.0.1", "lo")
    assert master in found.taken
    assert found.problem == ""
    assert Path(f"{spec.cache.xdg}/vllm/n2").is_dir()


def test_port_of_a_closed_connection_is_free(spec: job_spec.JobSpec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            served, _address = server.accept()
            assert node_report.ports_in_use(replace(spec, port=port)) == (port,)
            # The side that closes first keeps its socket for a minute.
            served.close()
    assert port in [one.local_port for one in local_state.sockets()]
    assert node_report.ports_in_use(replace(spec, port=port)) == ()
    with socket.create_server(("127.0.0.1", port)):
        assert node_report.ports_in_use(replace(spec, port=port)) == (port,)


def test_slow_look_up_of_the_form_that_the_ranks_use_is_told(
    spec: job_spec.JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_report, "_SLOW_S", 0.1)
    asked = []

    def answer(address: tuple[str, int], _flags: int) -> tuple[str, str]:
        asked.append(address[0])
        time.sleep(0.2)
        return "n1", "0"

    monkeypatch.setattr(socket, "getnameinfo", answer)
    found = node_report.report(replace(spec, nodes=2), 0, "n1")
    assert asked == ["::ffff:127.0.0.1"]
    assert any("a line '::ffff:127.0.0.1 NAME' in /etc/hosts" in note for note in found.notes)


def test_facts_of_the_inventory_come_first(spec: job_spec.JobSpec) -> None:
    known = replace(spec, hosts={"n2": job_spec.HostFacts("10.9.0.2", "127.0.0.1")})
    found = node_report.report(known, 1, "n2")
    assert (found.address, found.interface, found.client) == ("127.0.0.1", "lo", "10.9.0.2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interface": "nosuch0"}, "the interface nosuch0 with an IPv4 address, found .*lo.*: set nccl.socket_ifname"),
        ({"vllm": "/nonexistent/vllm"}, "the program /nonexistent/vllm on this node"),
        ({"cache": job_spec.CacheFolders(xdg="/proc/cache")}, "a writable cache folder /proc/cache.*cache.xdg"),
        ({"key_file": "/nonexistent/key"}, "the API key in /nonexistent/key"),
    ],
)
def test_node_says_what_stops_the_start(spec: job_spec.JobSpec, changes: dict[str, Any], words: str) -> None:
    assert re.search(words, node_report.report(replace(spec, **changes), 0, "n1").problem)


def test_key_that_others_can_read_is_refused(spec: job_spec.JobSpec) -> None:
    path = Path(spec.key_file)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text(encoding="ascii")
    job_files.install(spec)
    assert path.read_text(encoding="ascii") == before
    path.chmod(0o644)
    with pytest.raises(HerdError, match="readable for its owner only"):
        job_files.install(spec)


def test_folders_and_files_of_a_job_are_its_users_own(spec: job_spec.JobSpec) -> None:
    for name in ("jobs", "logs", "status"):
        assert (Path(spec.work_dir) / name).stat().st_mode & 0o777 == 0o700
    (Path(spec.work_dir) / "jobs").chmod(0o777)
    job_files.install(spec)
    assert (Path(spec.work_dir) / "jobs").stat().st_mode & 0o777 == 0o700
    assert Path(spec.spec_path).stat().st_mode & 0o777 == 0o600


def test_status_with_an_unprintable_reason_can_be_read(spec: job_spec.JobSpec) -> None:
    folder = job_files.JobFolder(spec, "1")
    folder.write_status(job_status.JobStatus("1", "double", job_status.FAILED, reason="a\u00a0b\u2028c"))
    found = folder.read_status()
    assert found is not None
    assert found.reason == "a b c"


def test_run_with_another_number_of_ranks_is_not_taken(spec: job_spec.JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_files, "_LATE_S", 0.0)
    folder = job_files.JobFolder(spec, "1")
    folder.begin()
    place = job_run.RankPlace("n1", "10.78.0.1", "ib0", "10.77.0.1")
    folder.write_run(job_run.Run("1", 0, (place, place), 29500, 29501, 18000, "0" * 64))
    assert len(folder.read_run(0).ranks) == 2
    folder.write_run(job_run.Run("1", 0, (place,), 29500, 29501, 18000, "0" * 64))
    with pytest.raises(HerdError, match="found one of 1 ranks on 2 nodes"):
        folder.read_run(0)


def test_shared_memory_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("psm_12ab", "psm_34cd", "sem.mp-abc", "other", "x-cpushm_1")
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 4096)
    monkeypatch.setattr(leftovers, "SHM", tmp_path)
    with (tmp_path / "psm_34cd").open("rb"):
        assert leftovers.clean_shared_memory(tmp_path, 60.0) == 0
        time.sleep(0.05)
        assert leftovers.clean_shared_memory(tmp_path, 0.0) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "psm_34cd"]


def test_orphan_of_vllm_is_killed_and_a_child_of_a_living_process_is_not() -> None:
    code = (
        "import subprocess; print(subprocess.Popen(['VLLM::Worker_TP0', '60'], executable='/bin/sleep', "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    orphan = int(done.stdout)
    with subprocess.Popen(["VLLM::Worker_TP1", "60"], executable="/bin/sleep") as child:
        killed = leftovers.kill_orphans()
        assert child.poll() is None
        child.kill()
    parent = Path(f"/proc/{orphan}/stat")
    if f"(process {orphan})" not in " ".join(killed):
        # Below a subreaper that is no init, the orphan has a parent.
        os.kill(orphan, 9)
        pytest.skip("this machine has a subreaper")
    time.sleep(0.2)
    assert not parent.exists() or parent.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def test_scratch_folder_of_a_living_wrapper_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setattr(leftovers, "_UNUSED_S", -1.0)
    one = leftovers.Scratch("99999")
    assert one.path.stat().st_mode & 0o777 == 0o700
    assert len(str(one.path)) < 48
    leftovers.clean_scratch()
    assert one.path.is_dir()
    os.close(one._lock)
    leftovers.clean_scratch()
    assert not one.path.exists()


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> key_guard.KeyGuard:
    path = tmp_path / "key"
    path.write_text("secret\n", encoding="ascii")
    monkeypatch.setenv("HERD_KEY_FILE", str(path))

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "passed", "path": scope.get("path")})

    return key_guard.KeyGuard(application)


def ask(guard: key_guard.KeyGuard, method: str, path: str, *keys: bytes, kind: str = "http") -> Any:
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any:
        return {}

    headers = [(b"Authorization", key) for key in keys]
    asyncio.run(guard({"type": kind, "method": method, "path": path, "headers": headers}, receive, send))
    return sent[0].get("status") or sent[0].get("code") or sent[0]["type"]


def test_every_path_but_the_health_needs_the_key(guard: key_guard.KeyGuard) -> None:
    assert ask(guard, "GET", "/health") == "passed"
    for method, path in (
        *(("POST", "/invocations"), ("GET", "/metrics"), ("POST", "/tokenize"), ("GET", "/docs"), ("GET", "/health/")),
        *(("POST", "/health"), ("OPTIONS", "/v1/models"), ("GET", "//health"), ("POST", "/v1/completions")),
    ):
        assert ask(guard, method, path) == 401
        assert ask(guard, method, path, b"Bearer wrong") == 401
        assert ask(guard, method, path, b"Bearer secret") == "passed"
    assert ask(guard, "GET", "/metrics", b"Bearer wrong", b"Bearer secret") == 401
    assert ask(guard, "GET", "/v1/realtime", kind="websocket") == 1008
    assert ask(guard, "GET", "/v1/realtime", b"Bearer secret", kind="websocket") == "passed"
    assert ask(guard, "", "", kind="lifespan") == "passed"


def test_vllm_does_not_start_without_a_key(guard: key_guard.KeyGuard, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n", encoding="ascii")
    with pytest.raises(RuntimeError, match="is empty"):
        key_guard.KeyGuard(guard)


def test_output_is_read_to_its_end_whatever_becomes_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        if line == "bad":
            raise ValueError("a number of 5000 digits")

    engine_process.read_lines(BytesIO(b"10%\r20%\nbad\nbad\nlast\n"), on_line)
    assert seen == ["10%", "20%", "bad", "bad", "last"]
    assert capsys.readouterr().out.count("a line of vLLM's output is not read: a number of 5000 digits") == 1
