# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read this host's memory from the kernel."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")


def total_bytes(proc: Path = PROC) -> int:
    """Read the host's total memory in bytes; 0 when the kernel does not report it."""
    try:
        for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
