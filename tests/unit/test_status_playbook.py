# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/status.yml with -e status_file on this machine alone: herdctl is a double, and no service runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERDCTL = """#!/bin/sh
case "$*" in
  *--json*) echo '{"schema": 1, "tiers": {"fast": {"state": "ready"}}}' ;;
  *) echo "fast ready" ;;
esac
exit 3
"""
COMMON = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "herd_rpc_port": 50052,
    "herd_fabric_interface": "lo",
    "herd_fabric_address": "127.0.0.1",
    "herd_prefix": "/none",
}


@pytest.mark.parametrize(
    ("groups", "keys"),
    [
        (["slurm_controller"], {"tiers"}),
        (["slurm_controller", "fast_router"], {"tiers", "nodes"}),
        (["fast_router"], {"nodes"}),
    ],
)
def test_status_file_has_tiers_and_nodes(tmp_path: Path, groups: list[str], keys: set[str]) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "herdctl"
    program.write_text(HERDCTL, encoding="utf-8")
    program.chmod(0o755)
    children: dict[str, Any] = {name: {"hosts": {f"host-{number}": {}}} for number, name in enumerate(groups)}
    inventory, written = tmp_path / "inventory.json", tmp_path / "status.json"
    inventory.write_text(json.dumps({"all": {"vars": COMMON, "children": children}}), encoding="utf-8")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "playbooks/status.yml",
            f"--inventory={inventory}",
            f"--extra-vars=status_file={written}",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.is_file(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    assert keys <= set(found), found
    # Neither of a host nor of a play without hosts.
    assert "skipping" not in done.stdout
    assert ("tiers" in found) is ("tiers" in keys)
    if "tiers" in keys:
        assert found["tiers"]["tiers"]["fast"]["state"] == "ready"
