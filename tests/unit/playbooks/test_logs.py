# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/logs.yml with a host that answers and one that cannot be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
#: A port of this machine without a listener, so that ssh fails at once.
DEAD: dict[str, object] = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_args": ""}
HERE: dict[str, object] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def play(folder: Path, hosts: dict[str, dict[str, object]], *more: str) -> subprocess.CompletedProcess[str]:
    groups = {"node": {"hosts": hosts}, "head_server": {"hosts": {next(iter(hosts)): {}}}}
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": groups}}), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    return subprocess.run(
        [program, "playbooks/logs.yml", f"--inventory={folder / 'hosts.json'}", *more],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_unreachable_host_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    done = play(tmp_path, {"here": HERE, "dead": DEAD}, "-e", f"logs_file={tmp_path}/logs.json")
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "logs.json").read_text(encoding="utf-8"))
    assert [problem.partition(": ")[0] for problem in data["problems"]] == ["dead cannot be reached"]
    assert "dead cannot be reached: " in done.stdout
    assert (tmp_path / "logs.json").stat().st_mode & 0o777 == 0o600
    assert "skipping: [" not in done.stdout


def test_mistake_in_the_window_is_one_sentence(tmp_path: Path) -> None:
    done = play(tmp_path, {"here": HERE}, "-e", "logs_lines=0")
    assert done.returncode != 0
    assert "here: expected 1 to 5000 lines, found 0: choose another number" in " ".join(done.stdout.split())
