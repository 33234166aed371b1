# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files of the endpoint registry."""

from __future__ import annotations

from pathlib import Path

from ...core.slurm import endpoint_registry
from ..common.regular_files import read_regular


def read_registry(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Read the registry's files: their texts by name, and the names of those that cannot be read."""
    files, broken = {}, []
    for path in sorted(folder.iterdir()):
        if not endpoint_registry.is_entry(path.name):
            continue
        try:
            data = read_regular(path, endpoint_registry.LARGEST, follow=False)
            files[path.name] = data.decode("utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError:
            broken.append(path.name)
    return files, broken
