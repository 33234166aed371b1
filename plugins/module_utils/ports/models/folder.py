# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List a folder of models, as deep as the engine's router does."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import NotFoundError


def listed(folder: Path) -> list[str]:
    """List the files in a folder and in its folders, relative to it; skip hidden ones."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise NotFoundError(
            f"a folder of models at {folder}", error.strerror or "none", "create it, or correct fast_router_directory"
        ) from error
    found = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found += [f"{entry.name}/{file.name}" for file in sorted(entry.iterdir()) if file.is_file()]
        elif entry.is_file():
            found.append(entry.name)
    return found
