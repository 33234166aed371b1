# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl job run: readiness and end of a tier. tests/slow has the tests of engines that hang."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.slurm.whole_job import Job, jobs, said_of


@pytest.fixture(name="make")
def _make(herdctl: Path, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    with jobs(herdctl, tmp_path) as make:
        yield make


needs_another_user = pytest.mark.skipif(os.getuid() != 0, reason="a client of another user takes root")


def test_router_is_ready_after_a_token_of_one_model(make: Callable[..., Job]) -> None:
    job = make()
    (job.folder / "no-one").touch()
    job.start().ready()
    assert (job.folder / "asked").read_text() == "one\ntwo\n"
    assert "warning: model one gives no token: " in job.text()


def test_router_without_a_usable_model_is_not_ready(make: Callable[..., Job]) -> None:
    job = make(restarts=0)
    (job.folder / "no-one").touch()
    (job.folder / "two.gguf").unlink()
    assert job.start().ended() == 1
    assert "lost: no model can be used; model one gives no token: " in job.text()
    assert f"its file {job.folder / 'two.gguf'} is not on n0" in job.text()
    assert "giving up after 1 failures" in job.text()
    assert job.state() == ""


def test_model_without_a_file_is_not_offered(make: Callable[..., Job]) -> None:
    job = make()
    (job.folder / "one.gguf").unlink()
    job.start().ready()
    entry = json.loads((job.folder / "registry" / "fast-77.json").read_text(encoding="utf-8"))
    assert entry["models"] == ["two"]


@needs_another_user
def test_silent_router_is_not_considered_idle(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    client = job.ask(4)
    (job.folder / "mute").touch()
    job.send(signal.SIGTERM)
    assert job.ended() == 0
    assert client.communicate(timeout=30)[0].strip() == b'"answered"'
    assert "no requests still run" in job.text()


def test_preemption_by_the_signal_of_the_time_limit_drains_the_job(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    now = time.time()
    job.said.write_text(said_of(now + 8, now), encoding="utf-8")
    job.send(signal.SIGUSR1)
    assert job.ended() == 0
    assert re.search("draining: preempted, [78] seconds are left; running requests have at most [56] sec", job.text())


def test_preemption_without_a_signal_ends_a_starting_job(make: Callable[..., Job]) -> None:
    job = make()
    program = job.folder / "release" / "bin" / "llama-server"
    program.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n", encoding="utf-8")
    job.said.write_text(said_of(time.time() + 86400), encoding="utf-8")
    job.start().says("head on n0: process")
    now = time.time()
    job.said.write_text(said_of(now + 12, now), encoding="utf-8")
    assert job.ended() == 0
    assert "draining: preempted, " in job.text()


def test_preemption_in_the_pause_after_a_failure_ends_the_job(make: Callable[..., Job]) -> None:
    job = make()
    program = job.folder / "release" / "bin" / "llama-server"
    program.write_text(f"#!{sys.executable}\n", encoding="utf-8")
    job.said.write_text(said_of(time.time() + 12, time.time()), encoding="utf-8")
    job.start()
    assert job.ended() == 0
    assert "draining: preempted, " in job.text()
