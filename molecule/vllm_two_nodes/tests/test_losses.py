# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each loss of a rank is noticed within seconds, idle or busy, explained in words, and repaired by a requeue."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.scenarios.slurm import CONTROLLER, until
from tests.scenarios.vllm import LOADED_S, NOTICED_S, OVER, USER, WORK, VllmLab

#: What happens to which rank: the rank, the processes, the signal.
KILLED = {
    "worker of rank 1 killed": (1, "VLLM::Worker", "KILL"),
    "worker of rank 0 killed": (0, "VLLM::Worker", "KILL"),
    "engine core killed": (0, "VLLM::EngineCore", "KILL"),
    "headless vLLM of rank 1 killed": (1, "vllm serve", "KILL"),
    "worker of rank 1 frozen": (1, "VLLM::Worker", "STOP"),
}


def is_noticed(lab: VllmLab, before: dict[str, Any]) -> bool:
    """Return whether the job says that it is over, or is no longer the start that it was."""
    now = lab.status(before["job_id"])
    return now.get("phase") in OVER or now.get("started", 0.0) > before["started"]


def recover(lab: VllmLab, before: dict[str, Any], name: str, mend: Callable[[], object] = lambda: None) -> None:
    """Wait until a loss that happens now is noticed and repaired, and show the times."""
    began = time.monotonic()
    until(f"{name}: noticed", lambda: is_noticed(lab, before), NOTICED_S + 5, every=0.1)
    noticed = time.monotonic() - began
    reason = lab.status(before["job_id"]).get("reason", "")
    mend()
    after = lab.wait_job(after=before["started"], seconds=LOADED_S + 180)
    serves = time.monotonic() - began
    assert lab.chat_with(after).status == 200
    print(f"{name}: noticed after {noticed:.1f} s ({reason}), serves again after {serves:.0f} s")
    assert noticed < NOTICED_S
    assert reason or "lost" in lab.text_of(before["job_id"])
    # Nothing of the former start is left.
    assert len({after["restarts"], before["restarts"]}) == 2 or after["job_id"] != before["job_id"]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "generating"])
@pytest.mark.parametrize("name", KILLED)
def test_lost_process_is_noticed_and_the_model_comes_back(
    lab: VllmLab, ready: dict[str, Any], name: str, busy: bool
) -> None:
    rank, title, signal = KILLED[name]
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(lab.chat_with, ready, 900, True, 120.0) if busy else None
        if busy:
            time.sleep(2)
        lab.signal(lab.host_of(ready, rank), title, signal)
        recover(lab, ready, f"{name}, {'generating' if busy else 'idle'}")
        if stream is not None:
            # The client is told: the stream ends, and does not hang until the client's own limit.
            assert stream.result(timeout=10) is not None


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "generating"])
def test_cut_fabric_is_noticed_and_the_model_comes_back(lab: VllmLab, ready: dict[str, Any], busy: bool) -> None:
    host = lab.host_of(ready, 1)
    with ThreadPoolExecutor(1) as pool:
        if busy:
            pool.submit(lab.chat_with, ready, 900, True, 120.0)
            time.sleep(2)
        lab.sure(host, "ip link set ib0 down")
        recover(
            lab, ready, f"fabric cut, {'generating' if busy else 'idle'}", lambda: lab.sure(host, "ip link set ib0 up")
        )


def test_preempted_job_is_requeued_and_comes_back(lab: VllmLab, ready: dict[str, Any]) -> None:
    line = "sbatch --parsable -D /tmp -o /dev/null -p gpu_vasp -A vasp --qos=vasp_priority -N2 --gres=gpu:1"
    rival = lab.sure(CONTROLLER, f"{line} --wrap 'sleep 20'", "vasp").strip()
    until("the other job to run", lambda: "RUNNING" in lab.sure(CONTROLLER, f"squeue -h -j {rival} -o %T || true"), 180)
    states = {job: state for job, state, _reason in lab.queue()}
    assert ready["job_id"] in states
    after = lab.wait_job(after=ready["started"], seconds=LOADED_S + 300)
    assert after["job_id"] == ready["job_id"]
    assert after["restarts"] > ready["restarts"]
    assert lab.chat_with(after).status == 200


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('s/socket_ifname: .*/socket_ifname: "nosuch0"/', "nosuch0"),
        ("s#/srv/vllm/current#/srv/vllm-gone#", "vllm-gone"),
    ],
    ids=["wrong interface", "no vLLM on the nodes"],
)
def test_start_that_cannot_succeed_ends_with_its_reason(lab: VllmLab, change: str, says: str) -> None:
    lab.user(f"scancel --user={USER}")
    until("the queue to be empty", lambda: not lab.queue(), 120)
    lab.user(f"sed '{change}' {WORK}/config.yaml >{WORK}/broken.yaml")
    ran = lab.user(f"{WORK}/bin/herdctl vllm launch --timeout 300 --json --config {WORK}/broken.yaml", 400)
    assert ran.rc not in (0, 5), ran.out
    assert says in ran.out + ran.err
    lab.user(f"scancel --user={USER}")
    until("the queue to be empty", lambda: not lab.queue(), 120)
