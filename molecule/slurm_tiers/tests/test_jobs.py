# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiers as jobs: processes, access to ports, and recovery from killed and hung processes."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenarios.slurm import CONTROLLER, JOB_NAMES, NODES, SCRIPTS, TIERS, Slurm, until

FABRIC = {"vasp-01": "10.100.0.41", "vasp-02": "10.100.0.42", "vasp-03": "10.100.0.43"}
ENGINES = "llama-server|ggml-rpc-server"
CONNECT = (
    "python3 -c 'import socket, sys; s = socket.socket(); s.settimeout(3); "
    'sys.exit(s.connect_ex(("{address}", {port})))\''
)
REFUSED = 111
#: Seconds that a request takes during which something happens.
REQUEST_S = 14.0


def engines(slurm: Slurm, host: str) -> list[str]:
    """List user and command line of every engine on a host."""
    lines = slurm.on(host, "ps -eo user:16,args --no-headers").out.splitlines()
    return [line for line in lines if re.search(rf"/bin/({ENGINES})( |$)", line) and "herdctl" not in line]


def pids(slurm: Slurm, host: str, program: str, tier_port: str = "") -> list[int]:
    lines = slurm.on(host, "ps -eo pid,args --no-headers").out.splitlines()
    return [int(line.split()[0]) for line in lines if line.split()[1].endswith(f"/{program}") and tier_port in line]


def head_pid(slurm: Slurm) -> int:
    """Return the process of the reasoning tier's head: only this head has RPC workers."""
    (found,) = pids(slurm, "vasp-01", "llama-server", "--rpc")
    return found


# The scripts


@pytest.mark.parametrize("tier", TIERS)
def test_script_can_be_read_and_submitted_by_hand(slurm: Slurm, tier: str) -> None:
    path = f"{SCRIPTS}/{TIERS[tier]}"
    text = slurm.sure(CONTROLLER, f"cat {path}")
    for line in ("--qos=ai_opportunistic", "--partition=gpu_ai", "--requeue", "--signal=B:USR1@1800", "--mem="):
        assert line in text
    slurm.sure(CONTROLLER, f"bash -n {path}")
    slurm.sure(CONTROLLER, f"sbatch --test-only {path}", "llama")
    data = json.loads(slurm.sure(CONTROLLER, f"cat {path}.json"))
    assert data["tier"] == tier
    assert slurm.key() not in text + json.dumps(data)


# Both tiers


def test_each_tier_has_nodes_and_gpus_of_its_own(serving: Slurm) -> None:
    nodes = {tier: serving.nodes(JOB_NAMES[tier]) for tier in TIERS}
    assert nodes == {"fast": ["vasp-02"], "reasoning": ["vasp-01", "vasp-03"]}
    programs = {host: {Path(line.split()[1]).name for line in engines(serving, host)} for host in NODES}
    assert programs == {"vasp-01": {"llama-server"}, "vasp-02": {"llama-server"}, "vasp-03": {"ggml-rpc-server"}}
    for name in JOB_NAMES.values():
        asked = serving.sure(CONTROLLER, f"squeue --noheader --name={name} --Format=tres-per-node:64").split()
        assert [each.removeprefix("gres:").removeprefix("gres/") for each in asked] == ["gpu:1"]


def test_both_tiers_serve_at_the_same_time(serving: Slurm) -> None:
    entries = [serving.wait_ready(tier) for tier in TIERS]
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(serving.chat, entries))
    assert [answer.status for answer in answers] == [200, 200]
    assert all(answer.json()["usage"]["completion_tokens"] == 4 for answer in answers)


def test_registry_entry_describes_the_engine(serving: Slurm) -> None:
    entry = serving.wait_ready("reasoning")
    assert {name: entry[name] for name in ("schema", "host", "address", "models", "percent", "context", "slots")} == {
        "schema": 1,
        "host": "vasp-01",
        "address": "10.0.0.41",
        "models": ["lab-llama"],
        "percent": 100,
        "context": 2048,
        "slots": 2,
    }
    assert serving.jobs("llama-72b")[0][0] == entry["job_id"]
    later = until(
        "a heartbeat", lambda: [e for e in serving.entries("reasoning") if e["heartbeat"] > entry["heartbeat"]], 30
    )
    assert later[0]["started"] == entry["started"]


def test_job_has_one_log_directory(serving: Slurm) -> None:
    job = serving.wait_ready("reasoning")["job_id"]
    folder = serving.shared / "ai" / "logs" / job
    names = {path.name for path in folder.iterdir()}
    assert {"job.log", "head.log", "head.json", "rpc-vasp-03.log"} <= names
    assert "layers: RPC0 vasp-03 8" in serving.log(job)
    assert not any(serving.key() in path.read_text(errors="replace") for path in folder.iterdir())


def test_engines_run_as_the_jobs_user_and_expose_no_key(serving: Slurm) -> None:
    key = serving.key()
    found = {host: engines(serving, host) for host in NODES}
    assert all(found.values()), found
    assert all(line.startswith("llama ") for lines in found.values() for line in lines)
    for host in NODES:
        assert key not in serving.on(host, "cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' '\\n'").out


@pytest.mark.parametrize("tier", TIERS)
def test_engine_accepts_only_the_gateways_key(serving: Slurm, tier: str) -> None:
    entry = serving.wait_ready(tier)
    url = f"http://{entry['address']}:{entry['port']}/v1/models"
    assert serving.ask(url, "").status == 401
    assert serving.ask(url, "wrong").status == 401
    assert serving.ask(url, serving.key()).status == 200


# The workers' ports


def test_only_the_head_of_the_job_can_connect_to_a_worker(serving: Slurm) -> None:
    until("the tier to be ready", lambda: serving.ready("reasoning"), 60)
    target = CONNECT.format(address=FABRIC["vasp-03"], port=50052)
    assert serving.on("vasp-02", target, "llama").rc == REFUSED, "another node's job"
    assert serving.on("vasp-03", target, "llama").rc == REFUSED, "the worker's own node"
    assert serving.on("vasp-01", target, "vasp").rc == REFUSED, "another user of the head's node"
    assert serving.on("vasp-01", target).rc == REFUSED, "root on the head's node"
    bound = serving.sure("vasp-03", "ss -Hltn 'sport = 50052'")
    assert bound.split()[3] == f"{FABRIC['vasp-03']}:50052"


def test_guard_opens_no_other_port(serving: Slurm) -> None:
    ask = (
        "python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(3);"
        ' s.connect("/run/herd-guard/guard.sock"); s.sendall(sys.argv[1].encode() + b"\\n");'
        " print(s.recv(200).decode())'"
    )
    for asked, answer in (
        ('{"port": 22, "address": "10.100.0.41"}', "refused: port 22"),
        ('{"port": 50053, "address": "10.0.0.9"}', "refused: '10.0.0.9'"),
        ('{"port": "50053; flush ruleset", "address": "10.100.0.41"}', "refused: port"),
        ('{"port": 50053, "address": "10.100.0.41 . 22 }, { 10.0.0.9"}', "refused:"),
        ("{}", ""),
        ("nonsense", ""),
        ("[" * 5000, ""),
    ):
        said = serving.on("vasp-03", f"{ask} '{asked}'", "llama").out
        assert said.startswith(answer), (asked, said)
    assert serving.on("vasp-03", f"{ask} '{{}}'", "vasp").rc != 0
    assert serving.on("vasp-03", "nft list ruleset").out.count("10.100.0.41 . 500") == 1


def test_guard_is_sandboxed(slurm: Slurm) -> None:
    said = slurm.sure("vasp-03", "systemd-analyze security herd-job-guard.service --no-pager")
    level = float(re.findall(r"exposure level for herd-job-guard.service: ([0-9.]+)", said)[0])
    assert level <= 2.5


def test_flushed_rules_are_restored_at_once(serving: Slurm) -> None:
    """A restart of nftables.service flushes the rules. Without them every host can connect to a worker."""
    assert serving.wait_ready("reasoning")
    pid = serving.sure("vasp-03", "systemctl show -p MainPID --value herd-job-guard.service")
    serving.sure("vasp-03", "nft flush ruleset")
    until(
        "the rule for the port",
        lambda: "10.100.0.41 . 500" in serving.on("vasp-03", "nft list table inet herd_jobs").out,
        20,
    )
    target = CONNECT.format(address=FABRIC["vasp-03"], port=50052)
    assert serving.on("vasp-02", target, "llama").rc == REFUSED
    assert serving.on("vasp-03", target, "llama").rc == REFUSED
    journal = "journalctl -u herd-job-guard.service -o cat -n 20"
    until("the guard's line", lambda: "were removed or changed" in serving.sure("vasp-03", journal), 20)
    # The guard was not restarted, and running workers are unaffected.
    assert serving.sure("vasp-03", "systemctl show -p MainPID --value herd-job-guard.service") == pid
    assert serving.chat(serving.wait_ready("reasoning")).status == 200


def test_killed_guard_does_not_affect_running_workers(serving: Slurm) -> None:
    serving.sure("vasp-03", "systemctl kill --signal=SIGKILL herd-job-guard.service")
    until("the guard", lambda: serving.on("vasp-03", "systemctl is-active herd-job-guard.service").rc == 0, 20)
    assert serving.chat(serving.wait_ready("reasoning")).status == 200


# Killed and hung processes


def recovered(slurm: Slurm, tier: str, job: str, lost: str) -> None:
    """Wait until the same job serves again, with the loss in its log."""
    until("the loss in the log", lambda: lost in slurm.log(job), 60)
    entry = slurm.wait_ready(tier)
    assert entry["job_id"] == job
    assert slurm.chat(entry).status == 200


def requeued_job(slurm: Slurm, tier: str) -> str:
    """Requeue the tier's job, which resets its number of losses. Several losses in a row end a job."""
    job = str(slurm.wait_ready(tier)["job_id"])
    slurm.sure(CONTROLLER, f"scontrol requeue {job}")
    until("the job to be pending", lambda: [one for one in slurm.jobs() if one[:2] == (job, "PENDING")], 60)
    slurm.sure(CONTROLLER, f"scontrol update jobid={job} starttime=now")
    assert slurm.wait_ready(tier)["job_id"] == job
    return job


def test_head_and_worker_restart_after_a_killed_worker(serving: Slurm) -> None:
    job = serving.wait_ready("reasoning")["job_id"]
    (worker,) = pids(serving, "vasp-03", "ggml-rpc-server")
    before = head_pid(serving)
    serving.sure("vasp-03", f"kill -9 {worker}")
    recovered(serving, "reasoning", job, "lost: rpc-vasp-03 on vasp-03 has ended by SIGKILL")
    assert head_pid(serving) != before


def test_killed_head_is_restarted(serving: Slurm) -> None:
    job = serving.wait_ready("reasoning")["job_id"]
    serving.sure("vasp-01", f"kill -9 {head_pid(serving)}")
    recovered(serving, "reasoning", job, "lost: head on vasp-01 has ended by SIGKILL")


def test_killed_step_leaves_no_engine(serving: Slurm) -> None:
    job = serving.wait_ready("reasoning")["job_id"]
    (engine,) = pids(serving, "vasp-03", "ggml-rpc-server")
    serving.sure("vasp-03", f"kill -9 $(ps -o ppid= -p {engine})")
    until("the engine to end with its step", lambda: serving.on("vasp-03", f"kill -0 {engine}").rc != 0, 30)
    recovered(serving, "reasoning", job, "lost: ")


def test_hung_worker_is_restarted(serving: Slurm) -> None:
    """The worker's port stays open. The head is healthy and waits."""
    job = requeued_job(serving, "reasoning")
    (worker,) = pids(serving, "vasp-03", "ggml-rpc-server")
    serving.sure("vasp-03", f"kill -STOP {worker}")
    recovered(serving, "reasoning", job, f"lost: vasp-03: the worker's process {worker} has been stopped")
    assert pids(serving, "vasp-03", "ggml-rpc-server") != [worker]


def test_hung_model_process_is_reloaded_without_a_router_restart(serving: Slurm) -> None:
    entry = serving.wait_ready("fast")
    assert serving.chat(entry).status == 200
    (model,) = pids(serving, "vasp-02", "llama-server", "--alias")
    (router,) = pids(serving, "vasp-02", "llama-server", "--models-preset")
    serving.sure("vasp-02", f"kill -STOP {model}")
    until("the model's process to end", lambda: serving.on("vasp-02", f"kill -0 {model}").rc != 0, 60)
    assert serving.chat(entry).status == 200
    assert pids(serving, "vasp-02", "llama-server", "--models-preset") == [router]
    until("the line in the log", lambda: "unloading the model lab-llama" in serving.log(entry["job_id"]), 20)


def test_hung_router_is_restarted(serving: Slurm) -> None:
    job = serving.wait_ready("fast")["job_id"]
    (router,) = pids(serving, "vasp-02", "llama-server", "--models-preset")
    serving.sure("vasp-02", f"kill -STOP {router}")
    recovered(serving, "fast", job, f"lost: the router's process {router} has been stopped")


def test_signal_of_slurm_does_not_reach_an_engine(serving: Slurm) -> None:
    """Every process of the step is signalled during a request, as in a preemption. The request completes."""
    entry = serving.wait_ready("fast")
    with serving.streaming(entry, serving.tokens_in(entry, REQUEST_S)) as stream:
        before = pids(serving, "vasp-02", "llama-server")
        for engine in before:
            serving.sure("vasp-02", f"kill -TERM {engine}")
        found = stream.answer()
    assert found.status == 200
    assert found.text.rstrip().endswith("data: [DONE]")
    assert pids(serving, "vasp-02", "llama-server") == before
    later = serving.wait_ready("fast")
    assert (later["job_id"], later["started"]) == (entry["job_id"], entry["started"])
