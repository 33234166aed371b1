# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read this host's memory from the kernel."""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")


def total_bytes(proc: Path = PROC) -> int:
    """Read the host's total memory in bytes; 0 when the kernel does not report it."""
    table = proc / "meminfo"
    found = re.search(r"^MemTotal: +(\d+) kB", table.read_text(encoding="ascii"), re.M) if table.exists() else None
    return int(found[1]) * 1024 if found else 0
