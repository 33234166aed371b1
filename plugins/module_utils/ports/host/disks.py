# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the free space of file systems."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files


@dataclass(frozen=True)
class Mount:
    """A file system, named by a present or future path on it."""

    path: str
    free_mib: int
    total_mib: int


def mounts(paths: Sequence[Path]) -> Iterator[Mount]:
    """Yield the file systems of these paths, each once."""
    seen: set[int] = set()
    for path in paths:
        there = files.existing_folder(path)
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            status = os.statvfs(there)
            unit = status.f_frsize
            yield Mount(str(path), status.f_bavail * unit >> 20, status.f_blocks * unit >> 20)
