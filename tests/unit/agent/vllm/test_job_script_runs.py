# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job's script runs as Slurm runs it: with bash, real wrappers, and doubles of srun, scontrol and vLLM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import job_files
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import requeue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import spec as job_spec
from tests.vllm.two_ranks import DOUBLE, Stream, doubles_of, free_ports, make_spec

SLURM = DOUBLE.parent / "slurm"
JOB = "4712"
RUNNING = "JobId=4712 JobState=RUNNING StartTime={start} EndTime={end} PreemptTime={preempt}\n"


class Job:
    """A job whose script runs."""

    def __init__(self, folder: Path, herdctl: Path, **changes: Any) -> None:
        self.slurm = folder / "slurm"
        self.slurm.mkdir()
        self.master, _heartbeats, port = free_ports()
        hosts = {f"n{rank}": job_spec.HostFacts("127.0.0.1", f"127.0.0.{rank}", "") for rank in (1, 2)}
        self.spec = make_spec(
            folder, herdctl, port=port, master_port_base=self.master - int(JOB) * 2 % 500, hosts=hosts
        )
        self.spec = replace(self.spec, **changes)
        self.script = job_files.install(self.spec)
        self.folder = job_files.JobFolder(self.spec, JOB)
        self.show()
        self.log_path = folder / "log"
        environment = {
            "PATH": f"{SLURM}:{os.environ['PATH']}",
            "HOME": str(folder),
            "SLURM_JOB_ID": JOB,
            "DOUBLE_SLURM": str(self.slurm),
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", str(self.script)], stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def show(self, preempt: str = "None", grace: int = 30, state: str = "RUNNING") -> None:
        """Set what scontrol shows."""
        now = int(time.time())
        preempted = str(now) if preempt == "now" else preempt
        text = RUNNING.format(start=now - 60, end=now + grace, preempt=preempted).replace("RUNNING", state)
        (self.slurm / "job").write_text(text, encoding="ascii")

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def calls(self) -> list[str]:
        """What the job asked of scontrol."""
        path = self.slurm / "calls"
        return path.read_text(encoding="ascii").splitlines() if path.exists() else []

    def until(self, is_so: Callable[[], object], seconds: float = 40.0) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def until_ready(self) -> Job:
        self.until(lambda: "herd: ready after" in self.log)
        return self

    def tasks(self) -> list[int]:
        """Return the wrappers."""
        return [int(word) for word in (self.slurm / "tasks-rank").read_text(encoding="ascii").split()]

    def stream(self, tokens: int) -> Stream:
        found = Stream(self.spec.port, job_files.read_key(Path(self.spec.key_file)), tokens)
        self.until(lambda: found.count > 2)
        return found

    def status(self) -> tuple[str, str]:
        found = self.folder.read_status()
        assert found is not None
        return found.phase, found.reason

    def until_status(self, phase: str, reason: str) -> None:
        """Wait for a status: a running job writes it after the log line or the call that a test has seen."""
        self.until(lambda: self.status() == (phase, reason))

    def close(self) -> None:
        for pid in self.tasks() if (self.slurm / "tasks-rank").exists() else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # In a real job, Slurm ends what a killed wrapper leaves.
        for pid in doubles_of(self.master):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def job(tmp_path: Path, herdctl: Path) -> Iterator[Callable[..., Job]]:
    made: list[Job] = []

    def make(**changes: Any) -> Job:
        made.append(Job(tmp_path, herdctl, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_preempted_job_finishes_its_answer_and_waits_for_slurm(job: Callable[..., Job]) -> None:
    one = job().until_ready()
    stream = one.stream(60)
    one.show(preempt="now", grace=40)
    one.process.send_signal(signal.SIGUSR1)
    one.until(lambda: "Slurm preempts the job" in one.log)
    stream.thread.join(10)
    assert stream.count == 60
    assert "[DONE]" in stream.text
    assert '"error"' not in stream.text
    assert one.process.poll() is None
    assert one.calls == []
    one.until_status("starting", "Slurm preempts the job and requeues it")
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(15) != 0


def test_job_on_one_node_answers_and_ends(job: Callable[..., Job]) -> None:
    """No rendezvous and no heartbeats: vLLM is started without the options of several nodes."""
    one = job(nodes=1).until_ready()
    (started,) = [line for line in one.log.splitlines() if "herd: starting:" in line]
    assert "--port " in started
    for option in ("--nnodes", "--node-rank", "--master-addr", "--headless", "--distributed-executor-backend"):
        assert option not in started
    one.until(lambda: one.status()[0] == "ready")
    stream = one.stream(20)
    one.process.send_signal(signal.SIGHUP)
    assert one.process.wait(30) == 0, one.log
    stream.thread.join(10)
    assert (stream.count, one.status()) == (20, ("ended", "stopped as requested"))


def test_job_that_is_stopped_by_hand_finishes_its_answer_and_ends(job: Callable[..., Job]) -> None:
    one = job().until_ready()
    stream = one.stream(40)
    one.process.send_signal(signal.SIGHUP)
    assert one.process.wait(30) == 0, one.log
    stream.thread.join(10)
    assert (stream.count, one.calls) == (40, [])
    assert one.status() == ("ended", "stopped as requested")


def test_job_requeues_itself_before_its_time_limit(job: Callable[..., Job]) -> None:
    one = job(is_renewed=True).until_ready()
    one.show(grace=50)
    one.process.send_signal(signal.SIGUSR1)
    one.until(lambda: one.calls)
    assert one.calls == [f"requeue {JOB}"]
    one.until_status("starting", "requeued before its time limit")
    assert one.folder.failures() == []


def test_lost_rank_requeues_the_job_until_its_limit(job: Callable[..., Job]) -> None:
    one = job(requeues=1).until_ready()
    os.kill(one.tasks()[1], signal.SIGKILL)
    one.until(lambda: one.calls)
    assert one.calls == [f"requeue {JOB}"]
    assert one.process.wait(15) != 0
    assert len(one.folder.failures()) == 1
    phase, reason = one.status()
    assert phase == "starting"
    assert reason.endswith("requeued (failure 1 of at most 2 in a row)")


def test_third_failure_in_a_row_delays_the_next_start(job: Callable[..., Job]) -> None:
    one = job().until_ready()
    for _number in range(2):
        one.folder.add_failure(requeue.Failure(time.time(), 0.0))
    os.kill(one.tasks()[1], signal.SIGKILL)
    # Slurm ends the processes of the script at the requeue, before the time of the next start can be set.
    assert one.process.wait(40) != 0
    assert one.calls == [f"requeue {JOB}", f"update JobId={JOB} StartTime=now+300"]


def test_cancelled_job_cuts_its_streams_at_once_and_is_not_requeued(job: Callable[..., Job]) -> None:
    one = job().until_ready()
    stream = one.stream(1000)
    one.show(state="COMPLETING")
    for pid in one.tasks():
        os.kill(pid, signal.SIGTERM)
    one.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert one.process.wait(30) == 1, one.log
    stream.thread.join(10)
    # Long before the drain would end.
    assert stream.ended_at - began < 15
    assert "[DONE]" not in stream.text
    assert one.calls == []
    assert one.status() == ("failed", "Slurm has ended the job: COMPLETING")


def test_settings_that_vllm_refuses_are_not_tried_again(job: Callable[..., Job]) -> None:
    one = job(environment={"DOUBLE_VLLM": "unknown-option"})
    assert one.process.wait(40) == 1, one.log
    assert one.calls == []
    assert one.status()[1].endswith("it is not requeued: the same settings fail again")


def test_wrong_interface_ends_the_job_once_with_its_sentence(job: Callable[..., Job]) -> None:
    one = job(interface="nosuch0", hosts={})
    assert one.process.wait(40) == 1, one.log
    assert one.calls == []
    phase, reason = one.status()
    assert phase == "failed"
    assert "the interface nosuch0 with an IPv4 address" in reason and "set nccl.socket_ifname" in reason
    assert reason.endswith("it is not requeued: the same settings fail again")


def test_key_and_secret_are_in_no_command_line_and_no_environment(job: Callable[..., Job]) -> None:
    one = job().until_ready()
    key = job_files.read_key(Path(one.spec.key_file)).encode()
    secret = json.loads((one.folder.path / "run.json").read_text(encoding="utf-8"))["secret"].encode()
    seen = 0
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                data = (path / name).read_bytes()
            except OSError:
                continue
            seen += str(one.folder.spec.work_dir).encode() in data
            assert key not in data
            assert secret not in data
    assert seen > 6
    assert key.decode() not in one.log
    assert (one.folder.path / "run.json").stat().st_mode & 0o777 == 0o600
    assert one.folder.path.stat().st_mode & 0o777 == 0o700
