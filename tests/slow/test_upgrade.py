# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrade, roll back, and fail an upgrade, while clients send requests all the time."""

from __future__ import annotations

import json

from tests.slow.cluster import HEAD, Cluster, Request, Run, assert_changes_nothing, assert_converged
from tests.slow.conftest import Notes
from tests.slow.test_both_releases import NEW, OLD, choose

DROP_IN = "/etc/systemd/system/llama-head.service.d/sabotage.conf"
# Prevents a head of the old release from starting.
SABOTAGE = f"""
import os, subprocess
os.makedirs(os.path.dirname({DROP_IN!r}), exist_ok=True)
with open({DROP_IN!r}, "w") as file:
    unit = "/etc/systemd/system/llama-head.service"
    file.write(f"[Service]\\nExecStartPre=/bin/sh -c '! grep -q releases/{OLD} {{unit}}'\\n")
subprocess.run(["systemctl", "daemon-reload"], check=True)
"""


def head_stopped(cluster: Cluster) -> list[float]:
    """Return when systemd began to stop the head, in seconds since the epoch."""
    program = """
import json, subprocess
argv = ["journalctl", "-u", "llama-head", "-o", "json", "--output-fields=MESSAGE", "--no-pager"]
lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
found = [json.loads(line) for line in lines]
print(json.dumps([int(line["__REALTIME_TIMESTAMP"]) / 1e6 for line in found
                  if str(line.get("MESSAGE", "")).startswith("Stopping llama-head")]))
"""
    stops: list[float] = json.loads(cluster.on(HEAD, program))
    return stops


def assert_failed_only_meanwhile(cluster: Cluster, requests: list[Request]) -> str:
    """Assert that failures form one stretch at most, and that none ended before the head's stop began."""
    answered = [request for request in requests if not request.error]
    failed = [request for request in requests if request.error]
    assert answered[0].began < answered[-1].began
    if failed:
        assert min(request.ended for request in failed) >= head_stopped(cluster)[-1] - 1
        inside = [r for r in answered if failed[0].began < r.began and r.ended < failed[-1].began]
        assert inside == []
        assert answered[-1].began > failed[-1].ended
    gap = failed[-1].ended - failed[0].began if failed else 0.0
    return f"{len(answered)} requests answered, {len(failed)} failed within {gap:.0f} s"


def play(cluster: Cluster, notes: Notes, what: str, playbook: str, *arguments: str) -> Run:
    requests: list[Request] = []
    with cluster.under_load(requests):
        run = cluster.play(playbook, "-vvv", *arguments)
    keys = cluster.on(HEAD, "print(open('/etc/herd/head/api-keys').read())").split()
    assert keys
    assert [key[:4] for key in keys if key in run.output] == []
    notes.add(f"{what}: {run.seconds:.0f} s, {assert_failed_only_meanwhile(cluster, requests)}")
    return run


def test_upgrade_and_rollback_succeed_under_load(cluster: Cluster, notes: Notes) -> None:
    assert_converged(cluster, cluster.deploy(*choose(OLD)), OLD)
    old = cluster.look()[HEAD]["current"]

    assert_converged(cluster, play(cluster, notes, f"{OLD} to {NEW}", "playbooks/upgrade.yml", *choose(NEW)), NEW)
    assert_changes_nothing(cluster.play("playbooks/upgrade.yml", *choose(NEW)))

    back = play(cluster, notes, f"rollback to {OLD}", "playbooks/rollback.yml", *choose(NEW))
    assert_converged(cluster, back, OLD)
    assert {found["current"] for found in cluster.look().values()} == {old}

    assert_converged(cluster, play(cluster, notes, f"forward to {NEW}", "playbooks/rollback.yml"), NEW)

    cluster.on(HEAD, SABOTAGE)
    failed = play(cluster, notes, "an upgrade that fails", "playbooks/upgrade.yml", *choose(OLD))
    assert failed.rc != 0
    assert f"expected release {OLD} to start and to answer" in failed.output
    assert f"The service runs {cluster.look()[HEAD]['current']} again and answers" in failed.output
    assert_converged(cluster, Run(0, 0, ""), NEW)
