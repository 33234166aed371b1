# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks with one wrong fact, and compare the state of the hosts before and after."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = ROOT / "inventory" / "lab"
LAB = os.environ.get("HERD_LAB", "bad_input")
HEAD, WORKERS = "vllm-node1", ("vllm-node2", "vllm-node3")
NODES = (HEAD, *WORKERS)
API = "http://10.0.0.31:8000"
HEALTHY_WITHIN_S = 120

# State that must not change: files of the services, the release, the models (without their locks and progress
# files), the prefixes, and the processes.
_STATE = r"""
readlink /opt/llama.cpp/current
sha256sum /etc/systemd/system/llama-*.service $(find /etc/herd -type f | sort)
find /opt/models /opt/llama.cpp /srv -maxdepth 3 \
  ! -name '.*.lock' ! -name '.*.progress' \( -type d -printf '%p\n' -o -printf '%p %y %s %T@ %i\n' \) | sort
systemctl show -p MainPID -p NRestarts llama-head.service llama-rpc.service
"""
_COMPLETION = """
key=$(head -n 1 /etc/herd/head/api-keys)
curl -sf --max-time 60 %(api)s/v1/chat/completions -H "Authorization: Bearer $key" \
  -H 'Content-Type: application/json' \
  -d '{"model":"lab-llama","max_tokens":4,"messages":[{"role":"user","content":"Hello"}]}'
"""


@dataclass(frozen=True)
class Run:
    """A playbook that has ended.

    :ivar errors: its messages, each as one line.
    :ivar failed: the hosts that a result says failed, once for each result.
    """

    rc: int
    output: str
    errors: list[str]
    failed: list[str]
    changed: dict[str, int]


def play(
    playbook: str = "site.yml",
    *more: str,
    facts: Mapping[str, Any] | None = None,
    inventory: Path | None = None,
    lab: str = LAB,
) -> Run:
    """Run a playbook with further facts, or with a second inventory that takes precedence."""
    words = [str(Path(sys.executable).with_name("ansible-playbook")), playbook, "--inventory", str(INVENTORY)]
    words += ["--inventory", str(inventory)] if inventory else []
    words += ["--extra-vars", json.dumps(facts)] if facts else []
    env = {**os.environ, "HERD_LAB": lab, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    env.pop("ANSIBLE_FORCE_COLOR", None)
    ended = subprocess.run([*words, *more], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    output = ended.stdout + ended.stderr
    return Run(
        rc=ended.returncode,
        output=output,
        errors=re.findall(r"^\[ERROR\]: (.*)", output, re.MULTILINE),
        failed=re.findall(r"^(?:fatal|failed): \[(\S+)\]", output, re.MULTILINE),
        changed={
            host: int(count) for host, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)
        },
    )


def on(host: str, script: str, lab: str = LAB) -> subprocess.CompletedProcess[str]:
    """Run a shell script on a host of the lab."""
    words = ["ssh", "-F", f"/run/herd-lab/{lab}/ssh_config", host, "sh"]
    return subprocess.run(words, input=script, capture_output=True, text=True, timeout=120, check=False)


def state() -> dict[str, str]:
    """Return the state of each node that must not change."""
    return {host: on(host, _STATE).stdout for host in NODES}


def answers() -> bool:
    """Return whether the service is healthy and answers a chat completion."""
    healthy = on(HEAD, f"curl -sf --max-time 5 {API}/health").returncode == 0
    said = on(HEAD, _COMPLETION % {"api": API}) if healthy else None
    return said is not None and said.returncode == 0 and '"content"' in said.stdout


def wait_until_it_answers() -> None:
    """Wait until the head answers, which restarts itself with its workers."""
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while not answers():
        assert time.monotonic() < deadline, on(HEAD, "journalctl -u llama-head -n 20 --no-pager").stdout
        time.sleep(1)
