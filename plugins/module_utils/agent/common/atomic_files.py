# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that one program writes and another reads while it does: written whole, and read as they are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Put a file in place in one step, and onto the disk; nobody reads it before its mode is right.

    No lock is taken: a shared file system may have none.

    :raises OSError: if it cannot be written; nothing is left beside it then.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink()
