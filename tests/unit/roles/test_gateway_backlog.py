# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's role raises the kernel's limit of listening queues where it is lower than the socket's Backlog=."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: A namespace of the network has a limit of its own, which only root may change.
IN_NAMESPACE = ["unshare", "--net", "--mount"]
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


def can_change_limit() -> bool:
    argv = [*IN_NAMESPACE, "sh", "-c", f"echo 128 > {SOMAXCONN}"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def run(folder: Path, limit: int, *words: str) -> list[str]:
    """Run the tasks twice on a host with this limit, and return the summaries and the limit at the end."""
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": [{"import_role": {"name": "herd.inference.gateway", "tasks_from": "backlog"}}],
        }
    ]
    (folder / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    given = {"_gateway_sysctl_file": str(folder / "50-herd-gateway.conf")}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), str(folder / "play.yml"), *words]
    once = shlex.join([*argv, "--extra-vars", json.dumps(given)])
    script = f"echo {limit} > {SOMAXCONN}; {once}; {once}; cat {SOMAXCONN}"
    done = subprocess.run(
        [*IN_NAMESPACE, "sh", "-ec", script],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [word for line in done.stdout.splitlines() if "ok=" in line for word in line.split() if "changed=" in word]
    return [*counts, done.stdout.split()[-1]]


@pytest.mark.skipif(not can_change_limit(), reason="needs root, to change the limit in a network namespace")
def test_low_limit_is_raised_once(tmp_path: Path) -> None:
    assert run(tmp_path, 128) == ["changed=2", "changed=0", "1024"]
    text = (tmp_path / "50-herd-gateway.conf").read_text(encoding="utf-8")
    assert text.splitlines()[-1] == "net.core.somaxconn = 1024"
    # remove.yml finds files with this mark.
    assert "herd.inference" in text


@pytest.mark.skipif(not can_change_limit(), reason="needs root, to change the limit in a network namespace")
def test_sufficient_limit_of_the_site_stays(tmp_path: Path) -> None:
    assert run(tmp_path, 1024) == ["changed=0", "changed=0", "1024"]
    assert not (tmp_path / "50-herd-gateway.conf").exists()


@pytest.mark.skipif(not can_change_limit(), reason="needs root, to change the limit in a network namespace")
def test_check_mode_changes_nothing(tmp_path: Path) -> None:
    found = run(tmp_path, 128, "--check")
    assert found[-1] == "128"
    assert found[0] == found[1] != "changed=0"
    assert not (tmp_path / "50-herd-gateway.conf").exists()
