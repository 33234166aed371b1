# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each loss of a rank is noticed within seconds, idle or busy, explained in words, and repaired by a requeue."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import pytest

from tests.scenarios import vllm_losses
from tests.scenarios.slurm import CONTROLLER, until
from tests.scenarios.vllm import HERDCTL, LOADED_S, NODES, NOTICED_S, WORK, VllmLab
from tests.scenarios.vllm_losses import Loss, LossRow, Stream

#: What happens: the rank, the processes, the signal, and whether a stream runs.
PROCESSES = {
    "worker of rank 1 is killed, idle": (1, "VLLM::Worker", "KILL", False),
    "worker of rank 1 is killed, generating": (1, "VLLM::Worker", "KILL", True),
    "engine core is killed, idle": (0, "VLLM::EngineCore", "KILL", False),
    "engine core is killed, generating": (0, "VLLM::EngineCore", "KILL", True),
    "parent of rank 1 is killed, idle": (1, "vllm serve", "KILL", False),
    "parent of rank 0 is killed, generating": (0, "vllm serve", "KILL", True),
    "worker of rank 1 is frozen, idle": (1, "VLLM::Worker", "STOP", False),
    "worker of rank 1 is frozen, generating": (1, "VLLM::Worker", "STOP", True),
}
#: What a job says of a lost process. While it generates, the engine's own error may come first.
PROCESS_LOST = "without being asked|has been stopped for|rank at .* was lost|completion"
#: Tokens of a stream that is complete within a drain.
SHORT = 400
#: A program that waits for the ports of the next run, and takes the one of the rendezvous.
STRANGER = """
import json, pathlib, socket, sys, time
jobs, began, port = pathlib.Path(sys.argv[1]), time.time(), 0
pathlib.Path(sys.argv[2]).write_text("")
while not port:
    for path in jobs.glob("*/run.json"):
        try:
            if path.stat().st_mtime > began:
                port = json.loads(path.read_text())["master_port"]
        except (OSError, ValueError):
            pass
    time.sleep(0.01)
with socket.socket() as stranger:
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stranger.bind(("", port))
    stranger.listen()
    pathlib.Path(sys.argv[2]).write_text(f"{port} {time.time()}")
    time.sleep(600)
"""


@pytest.mark.parametrize("what", PROCESSES)
def test_lost_process_is_noticed_and_the_model_comes_back(
    lab: VllmLab, ready: dict[str, Any], rows: list[LossRow], what: str
) -> None:
    rank, title, signal, is_busy = PROCESSES[what]
    loss = Loss(lab, ready, what, Stream(lab, ready) if is_busy else None)
    lab.signal(lab.host_of(ready, rank), title, signal)
    loss.notice()
    assert re.search(rf"rank \d on ({'|'.join(NODES)}).*({PROCESS_LOST})", loss.row.reason), loss.row
    loss.serve()
    rows.append(loss.row)


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "generating"])
def test_cut_fabric_is_noticed_and_the_model_comes_back(
    lab: VllmLab, ready: dict[str, Any], rows: list[LossRow], is_busy: bool
) -> None:
    what = f"fabric is cut, {'generating' if is_busy else 'idle'}"
    host = lab.host_of(ready, 1)
    loss = Loss(lab, ready, what, Stream(lab, ready) if is_busy else None)
    lab.cable(host, up=False)
    loss.notice()
    assert "no heartbeat" in loss.row.reason, loss.row
    lab.cable(host, up=True)
    loss.serve()
    rows.append(loss.row)


def test_preempted_job_drains_and_comes_back(lab: VllmLab, ready: dict[str, Any], rows: list[LossRow]) -> None:
    row = LossRow("job is preempted, generating")
    stream, began = Stream(lab, ready, SHORT), time.monotonic()
    line = "sbatch --parsable -D /tmp -o /dev/null -p gpu_vasp -A vasp --qos=vasp_priority -N2 --gres=gpu:1 --mem=0"
    rival = lab.sure(CONTROLLER, f"{line} --wrap 'sleep 5'", "vasp").strip()
    until("the job to drain", lambda: lab.status(ready["job_id"]).get("phase") == "draining", 60)
    assert not stream.ended_at, "the stream was over before the drain"
    row.noticed, row.reason = time.monotonic() - began, lab.status(ready["job_id"])["reason"]
    row.failed = int(not vllm_losses.is_complete(stream.result(60)))
    row.told = stream.ended_at - began
    until("vLLM to end", lab.is_clear, 60)
    row.ended = time.monotonic() - began
    until("the other job to run", lambda: "RUNNING" in lab.sure(CONTROLLER, f"squeue -h -j {rival} -o %T || true"), 180)
    assert ready["job_id"] in {job for job, _state, _reason in lab.queue()}
    after = lab.wait_job(after=ready["started"], seconds=LOADED_S + 300)
    row.served = time.monotonic() - began
    assert after["job_id"] == ready["job_id"]
    assert after["restarts"] > ready["restarts"]
    assert lab.chat_with(after).status == 200
    assert row.failed == 0, row
    rows.append(row)


def test_taken_master_port_stops_the_start_and_the_next_one_takes_another(
    lab: VllmLab, empty: None, rows: list[LossRow]
) -> None:
    taken = lab.work / "stranger.taken"
    taken.unlink(missing_ok=True)
    (lab.work / "stranger.py").write_text(STRANGER, encoding="utf-8")
    arguments = f"{WORK}/stranger.py {WORK}/jobs {WORK}/stranger.taken"
    try:
        lab.sure(NODES[0], f"systemd-run --unit=stranger --quiet python3 {arguments}")
        until("the stranger to watch", taken.is_file, 30)
        job = str(lab.herdctl("launch --no-follow")["job_id"])
        port, at = until("the port to be taken", lambda: taken.read_text(encoding="utf-8").split(), 60, every=0.05)
        loss = Loss(lab, {"job_id": job, "started": float(at), "restarts": 0}, "master port is taken at the start")
        loss.notice()
        assert f"port {port} to be free for the rendezvous" in loss.row.reason, loss.row
        after = loss.serve()
        assert after["phase"] == "ready"
        run = json.loads((lab.work / "jobs" / job / "run.json").read_text(encoding="utf-8"))
        assert run["master_port"] != int(port)
    finally:
        lab.on(NODES[0], "systemctl stop stranger")
        for path in lab.work.glob("stranger.*"):
            path.unlink()
    rows.append(loss.row)


def test_rank_that_never_comes_ends_the_start(lab: VllmLab, empty: None, rows: list[LossRow]) -> None:
    join_s = 20
    jobs = lab.work / "jobs"
    script = (jobs / "tiny.sh").read_text(encoding="utf-8")
    (spec,) = re.findall(r"^spec=.*/(\S+)$", script, re.MULTILINE)
    limited = (jobs / spec).read_text(encoding="utf-8").replace('"join": 300', f'"join": {join_s}')
    assert f'"join": {join_s}' in limited
    for name, text in (("lonely.json", limited), ("lonely.sh", script.replace(spec, "lonely.json"))):
        path = jobs / name
        path.write_text(text, encoding="utf-8")
        owner = (jobs / spec).stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    lab.cable(NODES[1], up=False)
    job = lab.user(f"sbatch --parsable {WORK}/jobs/lonely.sh").out.strip()
    begun = until("the job to start", lambda: lab.status(job).get("started"), 60, every=0.1)
    loss = Loss(lab, {"job_id": job, "started": begun, "restarts": 0}, f"rank 1 never comes (limit of {join_s} s)")
    loss.notice(join_s + NOTICED_S)
    assert f"has not come within {join_s} seconds" in loss.row.reason, loss.row
    lab.cable(NODES[1], up=True)
    loss.serve()
    rows.append(loss.row)
    vllm_losses.empty_queue(lab)


def test_wrong_interface_ends_the_start_with_its_reason(lab: VllmLab, empty: None, rows: list[LossRow]) -> None:
    lab.user(f"""sed 's/socket_ifname: .*/socket_ifname: "nosuch0"/' {WORK}/config.yaml >{WORK}/broken.yaml""")
    began = time.monotonic()
    launched = json.loads(lab.user(f"{HERDCTL} launch --no-follow --json --config {WORK}/broken.yaml").out)
    job = str(launched["job_id"])
    begun = until("the job to start", lambda: lab.status(job).get("started"), 60, every=0.1)
    loss = Loss(lab, {"job_id": job, "started": begun, "restarts": 0}, "interface of the fabric is wrong")
    until("the reason", lambda: "nosuch0" in lab.status(job).get("reason", ""), NOTICED_S + 10, every=0.1)
    loss.row.noticed = time.monotonic() - loss.began
    loss.row.reason = lab.status(job)["reason"]
    loss.row.ended = loss.row.noticed
    assert loss.row.noticed < NOTICED_S, loss.row
    # Another start would fail in the same way, so the job is not requeued.
    until("the job to end", lambda: job not in {found for found, _state, _reason in lab.queue()}, 60)
    assert lab.status(job)["phase"] == "failed", lab.status(job)
    shown = lab.user(f"{HERDCTL} status --config {WORK}/broken.yaml")
    assert "nosuch0" in shown.out, shown.out
    # The right configuration replaces it.
    assert lab.launch()["changed"]
    assert lab.chat_with(lab.wait_job(after=begun)).status == 200
    loss.row.served = time.monotonic() - began
    rows.append(loss.row)


def test_environment_that_is_missing_is_refused_before_a_submission(lab: VllmLab) -> None:
    lab.user(f"sed 's#/srv/vllm/current#/srv/vllm-gone#' {WORK}/config.yaml >{WORK}/broken.yaml")
    ran = lab.user(f"{HERDCTL} launch --timeout 300 --json --config {WORK}/broken.yaml", 400)
    assert ran.rc not in (0, 5), ran.out
    assert "vllm-gone" in ran.out + ran.err
