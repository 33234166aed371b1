# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a running download: the partial file and its progress record."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from ...core.download.identity import FileIdentity
from ...core.errors import HerdError
from ..files import FULL, disk_full, sync

FALLOC_FL_KEEP_SIZE = 1
#: Most pieces that the kernel takes in one call (IOV_MAX).
MOST_PIECES = 1024


class PartialFile:
    """The file that receives all bytes, until it gets its final name."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        # The directory belongs to an unprivileged user: never follow a link there.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise HerdError.plain(
                f"{path} cannot be opened ({error.strerror})", "remove that path, or correct the directory"
            ) from None
        os.fchmod(self._fd, 0o600)

    def reserve(self, size: int) -> None:
        """Reserve disk space in bytes, so that no other writer takes it meanwhile."""
        libc = ctypes.CDLL(None, use_errno=True)
        length = ctypes.c_int64(size)
        if libc.fallocate(self._fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(0), length) == 0:
            return
        if ctypes.get_errno() == errno.ENOSPC:
            raise disk_full(self._path)

    def truncate(self, size: int) -> None:
        """Remove the bytes after the end of the wanted file."""
        # Truncating a file at its very end would release the space that reserve() got.
        if os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, size)

    def write(self, position: int, pieces: Sequence[bytes]) -> None:
        """Write pieces one after the other; several threads may do so at once."""
        views = [memoryview(piece) for piece in pieces]
        try:
            while views:
                done = os.pwritev(self._fd, views[:MOST_PIECES], position)
                position += done
                while views and done >= len(views[0]):
                    done -= len(views.pop(0))
                if done:
                    views[0] = views[0][done:]
        except OSError as error:
            raise _failure(self._path, error) from None

    def read(self, position: int, into: memoryview) -> int:
        """Read written bytes, usually from the page cache; return their number."""
        try:
            return os.preadv(self._fd, [into], position)
        except OSError as error:
            raise _failure(self._path, error) from None

    def sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _failure(self._path, error) from None

    def identity(self) -> FileIdentity:
        status = os.fstat(self._fd)
        return FileIdentity(status.st_size, status.st_mtime_ns)

    def publish(self, dest: str) -> None:
        """Give the file its final name in one step."""
        os.fsync(self._fd)
        self._path.replace(dest)
        sync(Path(dest).parent)

    def set_owner(self, uid: int, gid: int, mode: int | None) -> None:
        """Set owner and mode while the file is still hidden."""
        if (uid, gid) != (-1, -1):
            os.fchown(self._fd, uid, gid)
        if mode is not None:
            os.fchmod(self._fd, mode)

    def close(self) -> None:
        os.close(self._fd)


class LineFile:
    """A file of one line that is overwritten again and again, without waiting for the disk."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)

    def write(self, line: bytes) -> None:
        # One call: a killed process has either made it or not.
        os.pwrite(self._fd, line, 0)

    def close(self) -> None:
        os.close(self._fd)


def _failure(path: Path, error: OSError) -> HerdError:
    if error.errno in FULL:
        return disk_full(path)
    return HerdError.plain(
        f"The disk failed at {path} ({error.strerror})",
        "read the disk's errors in the kernel log (dmesg), then run again: it continues where it stopped",
    )
