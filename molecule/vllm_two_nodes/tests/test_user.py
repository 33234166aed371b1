# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ordinary user of the cluster has one address that answers, states in words, and all files in the work space."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.gateway.environments import python_of
from tests.scenarios.slurm import CONTROLLER
from tests.scenarios.testing import wait_for
from tests.scenarios.vllm import CLIENT, HERDCTL, MODEL, NODES, USER, WORK, VllmLab

#: Folders of temporary files, of the mail and of Slurm, and the user's home.
SCRATCH = ("/proc", f"/home/{USER}", "/tmp", "/var/tmp", "/dev/shm", "/run", "/var/spool", "/var/mail", "/cluster")


def test_openai_client_gets_a_whole_answer_and_a_stream(lab: VllmLab, ready: dict[str, Any]) -> None:
    address = f"http://{ready['address']}:{ready['port']}/v1"
    argv = ["nsenter", f"--net=/run/netns/herd-{lab.lab}", python_of("clients"), "-c", CLIENT, address, lab.api_key()]
    done = subprocess.run(
        [*argv, ready["served_name"] or MODEL], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    tokens, parts = map(int, done.stdout.split())
    assert 0 < tokens <= 8
    assert parts > 0


def test_job_runs_on_both_nodes_over_the_fabric(lab: VllmLab, ready: dict[str, Any]) -> None:
    assert {lab.host_of(ready, rank) for rank in (0, 1)} == set(NODES)
    for node in NODES:
        assert lab.on(node, f"pgrep -u {USER} -f VLLM::Worker").rc == 0
    # The queue between the ranks listens on the fabric only.
    lines = lab.sure(NODES[0], f"ss -Hltnp | grep -i vllm | grep -v ':{ready['port']} '").splitlines()
    assert any("10.100.0." in line for line in lines)


def test_every_path_but_health_needs_the_key(lab: VllmLab, ready: dict[str, Any]) -> None:
    assert lab.chat_with(ready, key="").status == 401
    base = f"http://{ready['address']}:{ready['port']}"
    for path in ("/invocations", "/metrics", "/v1/models", "/tokenize"):
        assert lab.ask(f"{base}{path}", "").status in (401, 403, 404), path
    assert lab.ask(f"{base}/health", "").status == 200
    # No list of processes and no environment shows the key.
    for node in NODES:
        shown = lab.on(node, f"cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -qaFf {WORK}/api-key")
        assert shown.rc == 1


def test_commands_answer_in_words_and_in_json(lab: VllmLab, ready: dict[str, Any]) -> None:
    shown = lab.user(f"{HERDCTL} status --config {WORK}/config.yaml")
    assert shown.rc == 0
    assert "ready" in shown.out
    assert lab.herdctl("status")
    asked = lab.user(f"{HERDCTL} query --host {ready['address']} --port {ready['port']} --prompt hello --max-tokens 4 "
                     f"--config {WORK}/config.yaml")  # fmt: skip
    assert asked.rc == 0, asked.err


def test_second_launch_changes_nothing(lab: VllmLab, ready: dict[str, Any]) -> None:
    answer = lab.launch()
    assert not answer["changed"]
    assert str(answer["job_id"]) == ready["job_id"]


def test_user_owns_everything_and_nothing_lies_outside_the_work_space(lab: VllmLab, ready: dict[str, Any]) -> None:
    assert not lab.sure(CONTROLLER, f"find {WORK} ! -user {USER}").strip()
    for host in (CONTROLLER, *NODES):
        skipped = " ".join(f"-not -path '{path}/*'" for path in SCRATCH)
        found = lab.sure(host, f"find / -xdev -user {USER} -not -path /home/{USER} {skipped} || true")
        assert not found.strip(), host
    # The home stays empty but for what ssh, Ansible and the shell put there.
    assert (
        lab.sure(CONTROLLER, f"ls -A /home/{USER} | grep -v -E '^[.](bash.*|profile|ssh|ansible.*|cache)$' || true")
        == ""
    )


def test_changed_configuration_replaces_the_job(lab: VllmLab, ready: dict[str, Any]) -> None:
    path = lab.work / "config.yaml"
    before = path.read_text(encoding="utf-8")
    try:
        lab.user(f"sed -i 's/max_num_seqs: 4/max_num_seqs: 2/' {WORK}/config.yaml")
        answer = lab.launch(1200)
        assert answer["changed"]
        assert str(answer["job_id"]) != ready["job_id"]
        assert lab.chat_with(lab.wait_job(after=ready["started"])).status == 200
        # The former job finishes its requests, then ends for good: Slurm does not requeue it.
        wait_for("the former job's end", lambda: [job for job, *_rest in lab.queue()] == [str(answer["job_id"])])
    finally:
        lab.user(f"sed -i 's/max_num_seqs: 2/max_num_seqs: 4/' {WORK}/config.yaml")
        assert path.read_text(encoding="utf-8") == before
        lab.launch(1200)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('s/account: .*/account: "nobody_pays"/', "account"),
        ('s/partition: .*/partition: "gone"/', "partition"),
        ("s/nodes: 2/nodes: 9/; s/gpus: 2/gpus: 9/", "node"),
    ],
)
def test_job_that_slurm_refuses_is_explained_before_it_is_submitted(lab: VllmLab, change: str, says: str) -> None:
    lab.user(f"sed '{change}' {WORK}/config.yaml >{WORK}/refused.yaml")
    ran = lab.user(f"{HERDCTL} launch --test-only --json --config {WORK}/refused.yaml")
    assert ran.rc == 0 or ran.rc == 4, ran.err
    assert says in json.dumps(json.loads(ran.out).get("problems", [])) + ran.err
