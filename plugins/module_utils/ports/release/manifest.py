# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the manifest of the release that this host uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.errors import MismatchError, NotFoundError
from .. import files


def current_manifest(prefix: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder and manifest of the current release, or None without a release.

    Units run from this folder instead of the link C(current): a restart during an upgrade must not start another
    release than the one of the other nodes.
    """
    link = prefix / "current"
    if not link.exists():
        return None
    release = link.resolve()
    path = release / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MismatchError(
            f"a readable manifest at {path}", str(error), "run the role llama_release again on this host"
        ) from error
    if not isinstance(manifest, dict):
        raise MismatchError.plain(f"{path} is not a manifest", "run the role llama_release again on this host")
    return release, manifest


def needed_manifest(prefix: Path, is_check: bool) -> tuple[Path, dict[str, Any]] | None:
    """Return the result of C(current_manifest), which only check mode may lack before the first build.

    :raises NotFoundError: if no release is installed, outside check mode.
    """
    found = current_manifest(prefix)
    if found is None and not is_check:
        raise NotFoundError.plain(
            f"There is no release at {prefix / 'current'}", "run the role llama_release on this host first"
        )
    return found


def manifest_of(arguments: list[str]) -> dict[str, Any]:
    """Return the manifest of a process's release, or empty."""
    folder = _folder_of(arguments)
    return (files.read_json(folder / "manifest.json") if folder else None) or {}


def release_of(arguments: list[str]) -> str:
    """Return the id of the release in a process's command line, or empty."""
    folder = _folder_of(arguments)
    return folder.name if folder else ""


def _folder_of(arguments: list[str]) -> Path | None:
    parents = Path(arguments[0]).parents if arguments else ()
    return next((folder for folder in parents if folder.parent.name == "releases"), None)
