# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's playbooks that every site has, on a Slurm cluster: ask, drain, start, check the fabric, collect."""

from __future__ import annotations

import json
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenarios.playbooks import Operator
from tests.scenarios.slurm import CONTROLLER, JOB_NAMES, NODES, TIERS, Slurm, until

#: Least bandwidth in Gb/s of the lab's fabric, which is within this machine; and one that it cannot have.
SLOW_GBPS, IMPOSSIBLE_GBPS = 0.01, 100_000


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"), "inventory/lab_slurm")


def test_ask_shows_the_answer_of_each_tier(serving: Slurm, operator: Operator) -> None:
    run = operator.play("playbooks/ask.yml", "-e", '{"ask_prompt": "Say hello to the tests.", "ask_max_tokens": 8}')
    assert run.calm, run.output
    assert run.output.count("question: Say hello to the tests.") == len(TIERS)
    for tier in TIERS:
        assert re.search(rf"^ +tier: {tier}$", run.output, re.MULTILINE), run.output
    assert set(re.findall(r"^ +tokens: (\d+)$", run.output, re.MULTILINE)) == {"8"}
    assert "skipping: [" not in run.output


def test_drain_ends_no_response_and_start_brings_the_tiers_back(serving: Slurm, operator: Operator) -> None:
    entry = serving.wait_ready("reasoning")
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(serving.chat, entry, 40, stream=True, seconds=300)
        until("the request to run", lambda: (serving.ready("reasoning") or {}).get("load", {}).get("processing"), 60)
        run = operator.play("playbooks/drain.yml")
        found = answer.result()
    assert run.rc == 0, run.output
    assert found.status == 200
    assert found.text.rstrip().endswith("data: [DONE]")
    assert serving.jobs() == []
    assert "Say hello" not in run.output
    refused = operator.play("playbooks/ask.yml")
    assert refused.rc != 0
    assert "expected a tier that is ready, found none: " in refused.output
    assert operator.play("playbooks/drain.yml").calm
    started = operator.play("playbooks/start.yml")
    assert started.rc == 0, started.output
    for tier in TIERS:
        serving.wait_ready(tier, 300)
        until(f"the gateway to know of {tier}", lambda at=tier: serving.chat_at(at, tokens=1).status == 200, 60)
    assert operator.play("playbooks/start.yml").calm


def measured(operator: Operator, least_gbps: float) -> tuple[int, str]:
    words = [f"node_bandwidth_{name}_gbps={least_gbps}" for name in ("good", "acceptable", "critical")]
    words += ["bandwidth=true", "node_bandwidth_seconds=2"]
    run = operator.play("playbooks/check_fabric.yml", *(part for word in words for part in ("-e", word)))
    return run.rc, run.output


def test_bandwidth_is_measured_from_the_first_node_to_each_other(slurm: Slurm, operator: Operator) -> None:
    rc, output = measured(operator, SLOW_GBPS)
    assert rc == 0, output
    rates = [float(rate) for rate in re.findall(r'"?gbps"?: ([0-9.]+)', output)]
    assert len(set(rates)) >= 2 * (len(NODES) - 1)
    assert min(rates) > SLOW_GBPS
    rc, output = measured(operator, IMPOSSIBLE_GBPS)
    assert rc != 0
    assert re.search(r"expected .*Gb/s", output), output
    for node in NODES:
        assert slurm.on(node, "pgrep -x iperf3; ss -Hltn sport = :50064").out == ""


def test_logs_of_all_hosts_are_one_log(serving: Slurm, operator: Operator, tmp_path: Path) -> None:
    """An address without a host stands for a node without power."""
    lost = ("-e", '{"logs_since": "-1d", "logs_lines": 5000}', "-e", f"logs_file={tmp_path}/logs.json")
    # The host_vars of a later inventory win over those of the lab.
    dead = tmp_path / "dead"
    (dead / "host_vars").mkdir(parents=True)
    (dead / "hosts.yml").write_text("all: {hosts: {vasp-01: {}}}")
    (dead / "host_vars/vasp-01.yml").write_text("ansible_host: 10.0.0.99")
    key = serving.key()
    run = operator.play("playbooks/logs.yml", *lost, "--inventory", str(dead))
    assert run.rc == 0, run.output
    assert "vasp-01 cannot be reached: " in run.output
    data = json.loads((tmp_path / "logs.json").read_text(encoding="utf-8"))
    assert [line["time"] for line in data["lines"]] == sorted(line["time"] for line in data["lines"])
    assert {CONTROLLER, "vasp-02", "vasp-03"} <= {line["host"] for line in data["lines"]} <= {CONTROLLER, *NODES[1:]}
    assert {"herd-tiers.service", "herd-job-guard.service"} <= {line["unit"] for line in data["lines"]}
    assert key not in run.output + json.dumps(data)
    one = operator.play("playbooks/logs.yml", "-e", "logs_units=tiers", "-e", f"logs_file={tmp_path}/tiers.json")
    assert one.rc == 0, one.output
    data = json.loads((tmp_path / "tiers.json").read_text(encoding="utf-8"))
    assert {(line["host"], line["unit"]) for line in data["lines"]} <= {(CONTROLLER, "herd-tiers.service")}
    job = serving.wait_ready("reasoning")["job_id"]
    words = ("-e", f"logs_units=job-{job}", "-e", "logs_since=-1d", "-e", f"logs_file={tmp_path}/job.json")
    of_job = operator.play("playbooks/logs.yml", *words)
    assert of_job.rc == 0, of_job.output
    data = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))
    assert {line["host"] for line in data["lines"]} == {CONTROLLER}
    assert {f"job-{job}/job", f"job-{job}/head"} <= {line["unit"] for line in data["lines"]}
    assert key not in of_job.output


def collected(folder: Path, host: str) -> dict[str, str]:
    """Return the texts of a host's archive by their names in it."""
    found = {}
    with tarfile.open(folder / f"{host}.tar.gz") as archive:
        for entry in archive.getmembers():
            content = archive.extractfile(entry)
            assert content is not None
            found[entry.name.removeprefix(f"{host}/")] = content.read().decode()
    return found


def test_collection_has_the_controller_the_gateway_and_the_jobs(
    serving: Slurm, operator: Operator, tmp_path: Path
) -> None:
    jobs = {tier: serving.wait_ready(tier)["job_id"] for tier in TIERS}
    run = operator.play("playbooks/collect.yml", "-e", f"collect_dir={tmp_path}/bundle")
    assert run.calm, run.output
    archives = {host: collected(tmp_path / "bundle", host) for host in (CONTROLLER, *NODES)}
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {f"{host}.tar.gz" for host in archives}
    controller = archives[CONTROLLER]
    assert all(name in controller["slurm/queue.txt"] for name in JOB_NAMES.values())
    assert {"journal/herd-tiers.service.txt", "journal/nginx.service.txt", "herd/gateway.json"} <= set(controller)
    assert any(name.startswith("journal/herd-gateway@") for name in controller)
    assert {*json.loads(controller["herd/tiers-status.json"])["tiers"]} == {*TIERS}
    for job in jobs.values():
        assert "ready after" in controller[f"jobs/{job}/job.log"]
    for node in NODES:
        assert "journal/herd-job-guard.service.txt" in archives[node]
    key = serving.key()
    assert not [(host, name) for host, texts in archives.items() for name, text in texts.items() if key in text]
