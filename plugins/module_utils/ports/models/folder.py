# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the files of a folder of models, as far down as the engine's router looks."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import NotFoundError


def listed(folder: Path) -> list[str]:
    """List the files of a folder and of the folders in it, as paths below it."""
    try:
        paths = [*folder.iterdir(), *folder.glob("*/*")]
    except OSError as error:
        raise NotFoundError(
            f"a folder of models at {folder}", error.strerror or "none", "create it, or correct fast_router_directory"
        ) from error
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())
