# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems of this host: what is free on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files


@dataclass(frozen=True)
class Mount:
    """A file system, named by a path that lies on it, or will."""

    path: str
    free_mib: int
    total_mib: int


def mounts(paths: Sequence[Path]) -> Iterator[Mount]:
    """The file systems under these paths, each once."""
    seen: set[int] = set()
    for path in paths:
        there = files.existing_folder(path)
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            status = os.statvfs(there)
            unit = status.f_frsize
            yield Mount(str(path), status.f_bavail * unit >> 20, status.f_blocks * unit >> 20)
