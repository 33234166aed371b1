# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and remove the builds on the build host: finished ones in C(dist/), and work folders in C(build/)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import files

# Beside the builds' own folders: what all of them share.
SHARED = ("sources",)


class BuildStore:
    """The folders C(dist/) and C(build/) below one prefix."""

    def __init__(self, prefix: Path) -> None:
        self.dist = prefix / "dist"
        self.build = prefix / "build"

    def mark_used(self, build: str) -> None:
        """Record that a finished build is used. Builds are removed in the order of their last use."""
        os.utime(self.dist / f"{build}.json")

    def finished(self) -> list[str]:
        """Return the ids of finished builds, least recently used first."""
        return _by_age([path for path in self.dist.glob("*.json") if self._tarball(path.stem).is_file()])

    def unfinished(self) -> list[str]:
        """Return the ids of builds with a work folder and log, oldest first."""
        return _by_age([path for path in self.build.glob("*") if path.is_dir() and path.name not in SHARED])

    def remove_finished(self, build: str) -> None:
        """Remove a finished build. Its pointers are removed first, so that none points to a missing build."""
        for path in self.dist.glob("*.json"):
            known: Mapping[str, Any] = files.read_json(path) or {}
            if known.get("id") == build:
                path.unlink()
        self._tarball(build).unlink(missing_ok=True)

    def remove_unfinished(self, build: str) -> None:
        """Remove the work folder of a build, unless the build is running."""
        lock = self.build / f"{build}.lock"
        with lock.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            shutil.rmtree(self.build / build)

    def _tarball(self, build: str) -> Path:
        return self.dist / f"{build}.tar.gz"


def _by_age(paths: list[Path]) -> list[str]:
    # The name of a folder may contain dots.
    named = [(path.stat().st_mtime, path.stem if path.suffix == ".json" else path.name) for path in paths]
    return [name for _time, name in sorted(named)]
