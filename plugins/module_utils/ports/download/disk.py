# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system of a download."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.download.identity import FileIdentity
from ...core.errors import InvalidInputError
from .. import files
from .partial_file import LineFile, PartialFile

BLOCK = 4 << 20


class Disk:
    """The file system, for the rules in core/download."""

    def identity(self, path: str) -> FileIdentity | None:
        """Read size and time of a regular file; None if there is no file."""
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"a file at {path}", "something else there", "correct dest, or remove it")
        return FileIdentity(status.st_size, status.st_mtime_ns)

    def read_json(self, path: str) -> dict[str, Any]:
        return files.read_json(Path(path)) or {}

    def read_line(self, path: str) -> bytes:
        """Read the line of a LineFile; empty if there is none."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return b""
        with os.fdopen(fd, "rb") as stream:
            return stream.readline()

    def open_line_file(self, path: str) -> LineFile:
        return LineFile(path)

    def boot_id(self) -> str:
        """Read the machine's boot id; empty if there is none."""
        return files.boot_id()

    def write_json(self, path: str, value: dict[str, Any]) -> None:
        files.write_json(Path(path), value)

    def remove(self, path: str) -> None:
        """Remove a hidden file, and the scratch files that killed writers of it left."""
        Path(path).unlink(missing_ok=True)
        for leftover in Path(path).parent.glob(f"{glob.escape(Path(path).name)}.*.tmp"):
            leftover.unlink(missing_ok=True)

    def free(self, path: str) -> int:
        """Return the free bytes at a path, even if its directory does not exist yet."""
        status = os.statvfs(files.existing_folder(Path(path).parent))
        return status.f_bavail * status.f_frsize

    def allocated(self, path: str) -> int:
        """Return the bytes that a file takes on the disk."""
        try:
            return Path(path).lstat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def hash_range(self, path: str, start: int, length: int, digests: list[Any], count: Callable[[int], None]) -> None:
        """Add a segment of a file to digests; C(count) receives the bytes of each step."""
        with Path(path).open("rb") as stream:
            stream.seek(start)
            left = length
            while left:
                data = stream.read(min(BLOCK, left))
                if not data:
                    return
                left -= len(data)
                for digest in digests:
                    digest.update(data)
                count(len(data))

    def open_partial_file(self, path: str) -> PartialFile:
        return PartialFile(path)
