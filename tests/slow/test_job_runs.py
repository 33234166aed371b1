# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl job run: engines that hang, and steps that take long. Only Slurm and the engines are doubles."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.installed import install_herdctl
from tests.unit.agent.slurm.whole_job import Job, jobs, said_of


@pytest.fixture(name="make")
def _make(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    herdctl = install_herdctl(tmp_path / "herd")
    with jobs(herdctl, tmp_path) as make:
        yield make


needs_another_user = pytest.mark.skipif(os.getuid() != 0, reason="a client of another user takes root")


def test_stopped_worker_is_reported_as_lost(make: Callable[..., Job]) -> None:
    job = make(workers=1).start().ready()
    (worker,) = job.pids("ggml-rpc-server")
    os.kill(worker, signal.SIGSTOP)
    job.says(f"lost: n1: the worker's process {worker} has been stopped")
    job.until(lambda: job.pids("ggml-rpc-server") not in ([], [worker]), "no other worker")
    job.ready()


def test_head_without_its_connection_is_reported_as_lost(make: Callable[..., Job]) -> None:
    """Both processes run, and the head's health check succeeds."""
    job = make(workers=1, limits={"confirm_s": 0.5}).start().ready()
    found = subprocess.run(
        ["ss", "-H", "-t", "-K", "dst", "127.0.0.1", "dport", "=", str(worker_port(job))], check=False, timeout=30
    )
    if found.returncode or os.getuid():
        pytest.skip("this kernel ends no connections")
    job.says("lost: the head has no connection to n1")


def worker_port(job: Job) -> int:
    (found,) = (job.folder / "logs" / "77").glob("rpc-n1.json")
    return int(json.loads(found.read_text(encoding="utf-8"))["port"])


def test_stopped_head_is_reported_as_lost(make: Callable[..., Job]) -> None:
    job = make(workers=1).start().ready()
    (head,) = job.pids("llama-server")
    os.kill(head, signal.SIGSTOP)
    job.says(f"lost: the head's process {head} has been stopped")


def test_stopped_router_is_reported_as_lost(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    (router,) = job.pids("llama-server")
    os.kill(router, signal.SIGSTOP)
    job.says(f"lost: the router's process {router} has been stopped")


def test_busy_head_without_progress_is_asked_and_then_lost(make: Callable[..., Job]) -> None:
    job = make(workers=1, limits={"stall_s": 3.0, "probe_s": 1.0})
    job.start().ready()
    (job.folder / "no-one").touch()
    client = job.ask(50)
    job.says("asking the head for a token: it is busy and has made no progress")
    job.says("lost: the head is hung: it is busy and has made no progress")
    client.kill()
    client.wait()


def test_idle_router_stops_at_once(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    began = time.monotonic()
    job.send(signal.SIGTERM)
    assert job.ended() == 0
    assert time.monotonic() - began < 10
    assert "running requests have at most 10 seconds" in job.text()
    assert "requeued" in job.text()


@needs_another_user
def test_job_keeps_a_grace_shorter_than_the_tiers(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    client = job.ask(30)
    now = time.time()
    job.said.write_text(said_of(now + 5, now), encoding="utf-8")
    job.send(signal.SIGTERM)
    assert job.ended() == 0
    client.kill()
    client.wait()
    assert re.search("preempted, [45] seconds are left: running requests have [23] more seconds", job.text())
    assert "1 requests still run" in job.text()


@needs_another_user
def test_renewal_waits_for_a_response_longer_than_the_grace(make: Callable[..., Job]) -> None:
    """The job waits half of the time before its limit for an idle window; there is none."""
    job = make(grace=5).start().ready()
    client = job.ask(9)
    job.said.write_text(said_of(time.time() + 16), encoding="utf-8")
    job.send(signal.SIGUSR1)
    assert job.ended() == 0
    assert client.communicate(timeout=30)[0].strip() == b'"answered"'
    assert "draining: the time limit is near, and there was no idle window" in job.text()
    assert "no requests still run" in job.text()


@needs_another_user
def test_preemption_interrupts_a_renewal(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    client = job.ask(40)
    job.said.write_text(said_of(time.time() + 20), encoding="utf-8")
    job.send(signal.SIGUSR1)
    job.says("draining: the time limit is near, and there was no idle window")
    now = time.time()
    job.said.write_text(said_of(now + 4, now), encoding="utf-8")
    job.send(signal.SIGTERM)
    assert job.ended() == 0
    client.kill()
    client.wait()
    assert re.search("preempted, [34] seconds are left: running requests have [12] more seconds", job.text())
