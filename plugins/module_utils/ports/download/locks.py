# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock files of downloads."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import HerdError, NotFoundError


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NotFoundError(
            f"the directory {Path(path).parent}", "no such directory", "run role node first, which makes it"
        ) from None


def _has_name(path: str, fd: int) -> bool:
    """Return whether an open file still has its name; a process that cleans up may have removed it meanwhile."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: str, patience: float, waiting: Callable[[str], object]) -> Iterator[None]:
    """Hold a lock that is released when its process ends, in whatever way.

    The lock file stays. Only the holder of the lock may remove it; a process that waited for it then makes a new one.

    :param patience: seconds to wait for the lock.
    :param waiting: receives the reason while the lock is busy.
    """
    fd = _open_lock(path)
    try:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _has_name(path, fd):
                    break
                os.close(fd)
                fd = _open_lock(path)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "another process"
                if time.monotonic() - began > patience:
                    raise HerdError.plain(
                        f"Process {holder} still downloads the same file and holds {path} after {patience:.0f} s",
                        "wait for it, or stop it; the bytes that it fetched are kept",
                    ) from None
                waiting(f"waiting for process {holder}, which fetches the same file")
                time.sleep(0.5)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def hold_free(paths: Sequence[Path], make: bool = False) -> Iterator[list[Path]]:
    """Hold those of the locks that are free, and return the others.

    :param make: create missing locks; for a caller that removes the guarded files, and then the locks.
    """
    busy: list[Path] = []
    fds: list[int] = []
    try:
        for path in paths:
            try:
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if make else 0)
                fds.append(os.open(path, flags, 0o600))
                fcntl.flock(fds[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                if make and not _has_name(str(path), fds[-1]):
                    # Its last holder has removed it, so the next process makes another one.
                    busy.append(path)
            except FileNotFoundError:
                continue
            except BlockingIOError:
                busy.append(path)
            except OSError as error:
                remedy = "check that path, and remove it if no download has made it"
                raise HerdError(f"a lock at {path}", str(error.strerror), remedy) from None
        yield busy
    finally:
        for fd in fds:
            os.close(fd)
