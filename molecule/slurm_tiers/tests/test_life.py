# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and end of jobs that are submitted by hand, without the tier manager."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.scenarios.slurm import CONTROLLER, MANAGER, NODES, SCRIPTS, Slurm, until

#: Seconds that a request takes during which its job ends. A preempted job's requests have 24 seconds.
REQUEST_S = 14.0


@pytest.fixture(autouse=True)
def _without_manager(slurm: Slurm) -> Iterator[None]:
    """Stop the manager during each test, because it would submit its own jobs."""
    has_manager = slurm.on(CONTROLLER, f"systemctl is-active {MANAGER}").rc == 0
    if has_manager:
        slurm.sure(CONTROLLER, f"systemctl stop {MANAGER}")
    slurm.cancel_all()
    yield
    slurm.cancel_all()
    if has_manager:
        slurm.sure(CONTROLLER, f"systemctl start {MANAGER}")


def no_engine(slurm: Slurm) -> bool:
    return not any(slurm.on(host, "pgrep -f '[/]llama-server|[/]ggml-rpc-server'").rc == 0 for host in NODES)


def test_job_of_root_fails_with_advice(slurm: Slurm) -> None:
    job = slurm.sure(
        CONTROLLER, f"cd / && sbatch --parsable --account=root --qos=normal {SCRIPTS}/run-14b.slurm"
    ).strip()
    said = until("the error in the log", lambda: slurm.log(job), 30)
    assert "expected to run as llama, found root: submit it as that user: sudo -u llama sbatch" in said


def test_cancelled_job_drains_and_is_not_requeued(slurm: Slurm) -> None:
    job = slurm.submit("fast")
    entry = slurm.wait_ready("fast")
    with slurm.streaming(entry, slurm.tokens_in(entry, REQUEST_S)) as stream:
        slurm.sure(CONTROLLER, f"scancel {job}")
        until("the draining entry", lambda: [e for e in slurm.entries("fast") if e["state"] == "draining"], 20)
        found = stream.answer()
    assert found.status == 200
    assert found.text.rstrip().endswith("data: [DONE]")
    until("the job to end", lambda: not slurm.jobs(), 40)
    assert slurm.entries("fast") == []
    assert "is not requeued" in slurm.log(job)
    until("every engine to end", lambda: no_engine(slurm), 20)


@pytest.mark.parametrize("tier", ["fast", "reasoning"])
def test_preempted_job_finishes_its_requests_and_is_requeued(slurm: Slurm, tier: str) -> None:
    job = slurm.submit(tier)
    entry = slurm.wait_ready(tier)
    with slurm.streaming(entry, slurm.tokens_in(entry, REQUEST_S)) as stream:
        began = time.monotonic()
        vasp = slurm.vasp(5)
        until("the tier to leave the registry", lambda: not slurm.ready(tier), 15)
        found = stream.answer()
    assert found.status == 200, "the request that ran when the job drained"
    assert found.text.rstrip().endswith("data: [DONE]")
    until("VASP to run", lambda: "RUNNING" in slurm.on(CONTROLLER, f"squeue -h -j {vasp} -o %T").out, 40)
    # Without the requeue, Slurm would wait for the end of the grace.
    assert time.monotonic() - began < 36
    assert "seconds, no requests still run" in slurm.log(job)
    assert "requeued" in slurm.log(job)
    # The same job runs again after VASP and Slurm's pause.
    slurm.sure(CONTROLLER, f"scontrol update jobid={job} starttime=now")
    assert slurm.wait_ready(tier)["job_id"] == job


def test_job_with_a_killed_runtime_leaves_no_processes(slurm: Slurm) -> None:
    slurm.submit("reasoning")
    slurm.wait_ready("reasoning")
    slurm.sure("vasp-01", "kill -9 $(pgrep -f '[h]erdctl job run')")
    until("every engine to end", lambda: no_engine(slurm), 20)
    until("the job to end", lambda: not slurm.jobs(), 60)
    until("the port to be closed", lambda: "elements" not in slurm.sure("vasp-03", "nft list table inet herd_jobs"), 30)


def test_port_with_a_listener_is_skipped(slurm: Slurm) -> None:
    listen = "import socket,time; s=socket.create_server(('', 8080)); time.sleep(120)"
    slurm.sure("vasp-02", f'systemd-run -q --collect --unit=taken python3 -c "{listen}"')
    until("the listener", lambda: slurm.sure("vasp-02", "ss -Hltn 'sport = 8080'"), 20)
    try:
        slurm.submit("fast")
        entry = slurm.wait_ready("fast")
        assert entry["port"] == 8081
        assert slurm.chat(entry).status == 200
    finally:
        slurm.sure("vasp-02", "systemctl stop taken.service")


def test_job_near_its_time_limit_requeues_itself_in_an_idle_window(slurm: Slurm) -> None:
    line = f"sbatch --parsable --time=2 --signal=B:USR1@90 {SCRIPTS}/run-14b.slurm"
    job = slurm.sure(CONTROLLER, line, "llama").strip()
    slurm.wait_ready("fast")
    until("the signal", lambda: "the time limit is near" in slurm.log(job), 100)
    until("the renewal", lambda: "requeued" in slurm.log(job), 40)
    assert "the time limit is near, and no request runs" in slurm.log(job)
    until("the job to be pending", lambda: [j for j in slurm.jobs() if j[:2] == (job, "PENDING")], 30)


def test_router_without_models_is_never_ready(slurm: Slurm) -> None:
    slurm.sure("vasp-02", "mv /scratch/ai/models/lab-llama.gguf /scratch/ai/models/hidden")
    try:
        job = slurm.submit("fast")
        until("the loss in the log", lambda: "lost: no model can be used" in slurm.log(job), 60)
        assert not slurm.ready("fast")
        assert "lab-llama.gguf is not on vasp-02" in slurm.log(job)
    finally:
        slurm.sure("vasp-02", "mv /scratch/ai/models/hidden /scratch/ai/models/lab-llama.gguf")
    # The same job starts its engines again.
    assert slurm.wait_ready("fast")["job_id"] == job


def test_job_preempted_before_it_is_ready_ends_at_once(slurm: Slurm) -> None:
    """The workers run, and their ports are blocked, so that the head waits."""
    block = "nft add table inet held; nft add chain inet held in '{ type filter hook input priority -50; }'; "
    slurm.sure("vasp-03", block + "nft add rule inet held in tcp dport 50052-50059 drop")
    try:
        job = slurm.submit("reasoning")
        until("the workers to run", lambda: "rpc-vasp-03 on vasp-03 listens" in slurm.log(job), 60)
        vasp = slurm.vasp(5)
        until("VASP to run", lambda: "RUNNING" in slurm.on(CONTROLLER, f"squeue -h -j {vasp} -o %T").out, 40)
        assert "draining: " in slurm.log(job)
        # A request would have 24 seconds.
        (stopped,) = re.findall(r"stopping after ([0-9.]+) seconds", slurm.log(job))
        assert float(stopped) < 10
    finally:
        slurm.sure("vasp-03", "nft delete table inet held")


def test_missing_model_ends_the_job_with_a_reason(slurm: Slurm) -> None:
    slurm.sure("vasp-01", "mv /scratch/ai/models/lab-llama.gguf /scratch/ai/models/hidden")
    try:
        job = slurm.submit("reasoning")
        until("the job to give up", lambda: not slurm.jobs(), 120)
    finally:
        slurm.sure("vasp-01", "mv /scratch/ai/models/hidden /scratch/ai/models/lab-llama.gguf")
    assert "giving up after 4 failures" in slurm.log(job)
    assert "lost: head on vasp-01 has ended with status 1" in slurm.log(job)
    ended = f"sacct -X -n -P -j {job} -o state,exitcode"
    until("the state in the accounting", lambda: slurm.sure(CONTROLLER, ended).strip() == "FAILED|1:0", 30)


def test_router_offers_the_models_on_its_node_when_it_starts(slurm: Slurm) -> None:
    model, folder = "/scratch/ai/models/lab-llama.gguf", "/scratch/ai/models"
    slurm.sure("vasp-02", f"ln -f {model} {folder}/second.gguf; head -c 1000000 {model} > {folder}/cut.gguf")
    try:
        job = slurm.submit("fast")
        entry = slurm.wait_ready("fast")
        assert set(entry["models"]) == {"lab-llama", "second"}
        assert slurm.chat({**entry, "models": ["second"]}).status == 200
        assert "cut is not offered: expected a complete model at" in slurm.log(job)
    finally:
        slurm.sure("vasp-02", f"rm -f {folder}/second.gguf {folder}/cut.gguf")
