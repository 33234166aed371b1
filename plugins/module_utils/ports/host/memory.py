# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's memory, and the limit of the control group that this process is in, as the kernel tells them."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")
# The first version of control groups writes such a number where there is no limit.
_NO_LIMIT = 1 << 60


def total_bytes(proc: Path = PROC) -> int:
    """All memory of this host, 0 where the kernel does not say."""
    try:
        for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def limit_bytes(proc: Path = PROC, groups: Path = GROUPS) -> int:
    """The smallest limit of this process's control group and those around it, 0 for none.

    In a job of SLURM that is the job's memory.
    """
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    found = []
    for line in lines:
        _number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = root / path.lstrip("/")
        while True:
            found.append(_limit_in(place / name))
            if place == root or root not in place.parents:
                break
            place = place.parent
    return min((limit for limit in found if 0 < limit < _NO_LIMIT), default=0)


def _limit_in(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
