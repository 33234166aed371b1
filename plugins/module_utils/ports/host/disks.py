# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the free space of file systems."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import files


def mounts(paths: Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    """Yield path, free MiB and total MiB of the file systems of these paths, which need not exist, each once."""
    seen: set[int] = set()
    for path in paths:
        there = files.existing_folder(path)
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            status = os.statvfs(there)
            unit = status.f_frsize
            yield str(path), status.f_bavail * unit >> 20, status.f_blocks * unit >> 20
