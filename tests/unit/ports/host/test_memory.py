# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and limits, from trees that look as the kernel's do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports.host import memory


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/system.slice/job_7/step_0\n", {"system.slice/job_7/memory.max": "209715200\n"}, 209715200),
        (
            "0::/a/b\n",
            {"a/memory.max": "1000000\n", "a/b/memory.max": "500000\n", "memory.max": "max\n"},
            500000,
        ),
        ("0::/a\n", {"a/memory.max": "max\n"}, 0),
        ("0::/\n", {}, 0),
        (
            "5:cpu,cpuacct:/x\n9:memory:/slurm/uid_0/job_7\n",
            {"memory/slurm/uid_0/job_7/memory.limit_in_bytes": "68719476736\n"},
            68719476736,
        ),
        ("9:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, 0),
    ],
)
def test_the_smallest_limit_on_the_way_up(tmp_path: Path, cgroup: str, files: dict[str, str], limit: int) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        place = tmp_path / "groups" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert memory.limit_bytes(tmp_path / "proc", tmp_path / "groups") == limit


def test_memory_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       394263272 kB\nMemFree:        1 kB\n")
    assert memory.total_bytes(tmp_path) == 394263272 * 1024
    assert memory.total_bytes(tmp_path / "nothing") == 0
