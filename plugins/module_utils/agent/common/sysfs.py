# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the kernel's description of this host's devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")


@dataclass(frozen=True)
class Sysfs:
    """Reads C(/sys) for the rules of core."""

    root: Path = SYS

    def read(self, path: str) -> str:
        """Return the content of a file without blanks around it; empty if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a folder; empty without one."""
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except OSError:
            return []
