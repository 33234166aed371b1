# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release in use on this host, as role llama_release left it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.errors import MismatchError, NotFoundError
from .. import files


def current_manifest(prefix: Path) -> tuple[Path, dict[str, Any]] | None:
    """Give the pinned directory of the release and its manifest, or None where none is installed.

    Units run from the pinned directory: a restart after a crash, in the middle of an upgrade, must not
    start another release than its neighbours run.
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
        raise MismatchError(f"a manifest at {path}", "something else", "run the role llama_release again on this host")
    return release, manifest


def needed_manifest(prefix: Path, is_check: bool) -> tuple[Path, dict[str, Any]] | None:
    """Give what C(current_manifest) gives; only check mode, which may come before the first build, goes without.

    :raises NotFoundError: where no release is installed, other than in check mode.
    """
    found = current_manifest(prefix)
    if found is None and not is_check:
        raise NotFoundError.plain(
            f"There is no release at {prefix / 'current'}", "run the role llama_release on this host first"
        )
    return found


def manifest_of(arguments: list[str]) -> dict[str, Any]:
    """Read the manifest of the release that a process runs from; empty where there is none to read."""
    if not release_of(arguments):
        return {}
    release = next(parent for parent in Path(arguments[0]).parents if parent.parent.name == "releases")
    return files.read_json(release / "manifest.json") or {}


def release_of(arguments: list[str]) -> str:
    """Name the release that a process runs from, by its command line."""
    if not arguments:
        return ""
    parts = Path(arguments[0]).parts
    return parts[parts.index("releases") + 1] if "releases" in parts[:-1] else ""
