# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files of the endpoint registry."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...core.slurm import endpoint_registry
from ..common.regular_files import read_regular


def _newest_first(folder: Path) -> list[str]:
    """List the names of the entries: those of running jobs are always new."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if endpoint_registry.is_entry(entry.name):
                with suppress(FileNotFoundError):
                    found.append((-entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
    return [name for _age, name in sorted(found)]


def read_registry(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Read the newest files of the registry, with a limit of their number and size.

    :returns: their texts by name, and why the others cannot be read, by name.
    """
    names = _newest_first(folder)
    files: dict[str, str] = {}
    broken: dict[str, str] = {}
    left = endpoint_registry.MOST_BYTES
    for index, name in enumerate(names):
        if index == endpoint_registry.MOST_FILES or left < endpoint_registry.LARGEST:
            broken[name] = (
                f"it and {len(names) - index - 1} older files are not read: the limits are "
                f"{endpoint_registry.MOST_FILES} files and {endpoint_registry.MOST_BYTES >> 20} MiB"
            )
            break
        try:
            data = read_regular(folder / name, endpoint_registry.LARGEST, follow=False)
        except FileNotFoundError:
            continue
        except OSError:
            broken[name] = "it cannot be read"
            continue
        left -= len(data)
        files[name] = data.decode("utf-8", errors="replace")
    return files, broken
