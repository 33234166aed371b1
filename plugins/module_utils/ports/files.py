# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as the fetcher needs them: written so that a crash at any moment leaves something to go on from."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import grp
import hashlib
import json
import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import HerdError, InsufficientError, InvalidInputError, NotFoundError

BLOCK = 4 << 20
FALLOC_FL_KEEP_SIZE = 1
FULL = (errno.ENOSPC, errno.EDQUOT)
# The kernel takes no more at once (IOV_MAX).
MOST_PIECES = 1024


@dataclass(frozen=True)
class Found:
    """What identifies a file's content as long as nobody forges times."""

    size: int
    mtime_ns: int


class Landing:
    """The one file into which all bytes go, before it has its final name."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        # The directory belongs to an unprivileged user: never follow a link that lies in the way.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise HerdError(
                f"to write {path}", str(error.strerror), "remove what lies in the way, or correct the directory"
            ) from None
        os.fchmod(self._fd, 0o600)

    def reserve(self, size: int) -> None:
        """Ask the file system for the room, so that no other writer takes it in the meantime."""
        libc = ctypes.CDLL(None, use_errno=True)
        length = ctypes.c_int64(size)
        if libc.fallocate(self._fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(0), length) == 0:
            return
        if ctypes.get_errno() == errno.ENOSPC:
            raise _full(self._path)

    def cut(self, size: int) -> None:
        """Forget what lies behind the end of what is wanted."""
        # Cutting a file at its very end would give back what reserve() got.
        if os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, size)

    def write(self, position: int, pieces: Sequence[bytes]) -> None:
        """Put pieces one after the other into the file; several threads may do so."""
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
            if error.errno in FULL:
                raise _full(self._path) from None
            raise _broken(self._path, error) from None

    def read(self, position: int, into: memoryview) -> int:
        """Bytes that were written, as a rule out of the page cache."""
        try:
            return os.preadv(self._fd, [into], position)
        except OSError as error:
            raise _broken(self._path, error) from None

    def sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _full(self._path) if error.errno in FULL else _broken(self._path, error) from None

    def found(self) -> Found:
        status = os.fstat(self._fd)
        return Found(status.st_size, status.st_mtime_ns)

    def publish(self, dest: str) -> None:
        """Give the file its final name, in one step."""
        os.fsync(self._fd)
        self._path.replace(dest)
        sync(Path(dest).parent)

    def own(self, uid: int, gid: int, mode: int | None) -> None:
        """Owner and mode, while the file is still hidden."""
        if (uid, gid) != (-1, -1):
            os.fchown(self._fd, uid, gid)
        if mode is not None:
            os.fchmod(self._fd, mode)

    def close(self) -> None:
        os.close(self._fd)


class Notebook:
    """One line that is written over and over, without waiting for the disk."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)

    def write(self, line: bytes) -> None:
        # In one call, which a killed process has made or has not made.
        os.pwrite(self._fd, line, 0)

    def close(self) -> None:
        os.close(self._fd)


class Disk:
    """The file system, as the logic of the fetch sees it."""

    def look(self, path: str) -> Found | None:
        """A regular file, or None."""
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"a file at {path}", "something else there", "correct dest, or remove it")
        return Found(status.st_size, status.st_mtime_ns)

    def read_json(self, path: str) -> dict[str, Any]:
        """A small file of ours; empty if it is absent or was damaged."""
        return read_json(Path(path)) or {}

    def read_line(self, path: str) -> bytes:
        """What a notebook says; empty if there is none."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return b""
        with os.fdopen(fd, "rb") as stream:
            return stream.readline()

    def notebook(self, path: str) -> Notebook:
        return Notebook(path)

    def boot(self) -> str:
        """What identifies this start of the machine; empty if nothing does."""
        return boot_id()

    def write_json(self, path: str, value: dict[str, Any]) -> None:
        write_json(Path(path), value)

    def remove(self, path: str) -> None:
        """A file of ours, also what a writer of it that was killed left behind."""
        Path(path).unlink(missing_ok=True)
        for leftover in Path(path).parent.glob(f"{glob.escape(Path(path).name)}.*.tmp"):
            leftover.unlink(missing_ok=True)

    def free(self, path: str) -> int | None:
        """Bytes that may still be written beside a path, also if its directory is still to be made."""
        try:
            status = os.statvfs(existing_folder(Path(path).parent))
        except FileNotFoundError:
            return None
        return status.f_bavail * status.f_frsize

    def allocated(self, path: str) -> int:
        """Bytes that a file already takes on the disk."""
        try:
            return Path(path).lstat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def hash_range(self, path: str, start: int, length: int, digests: list[Any], count: Callable[[int], None]) -> None:
        """Feed a segment of a file to digests."""
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

    def landing(self, path: str) -> Landing:
        return Landing(path)


def _broken(path: Path, error: OSError) -> HerdError:
    return HerdError(
        f"the disk to take and give the bytes of {path}",
        str(error.strerror),
        "look at the kernel's log (dmesg) for the disk's own words, then run again: it continues where it stopped",
    )


def _full(path: Path) -> InsufficientError:
    return InsufficientError(
        f"room to write {path}",
        "a full disk",
        "free space or choose another directory, then run again: it continues where it stopped",
    )


def user_id(name: str | None) -> int | None:
    """Return the number of a user: -1 without a name, None for an unknown user."""
    if not name:
        return -1
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_id(name: str | None) -> int | None:
    """Return the number of a group: -1 without a name, None for an unknown group."""
    if not name:
        return -1
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def required_group_id(name: str, is_check: bool) -> int:
    """Return the number of a group.

    :param is_check: return -1 for an unknown group, since the roles of an earlier play may create it.
    """
    found = group_id(name)
    if found is None and not is_check:
        raise NotFoundError(f"the group {name}", "no group of that name", "run the role node first")
    return -1 if found is None else found


def sync(path: Path) -> None:
    """Flush a file, or the names in a directory, to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def scratch_path(path: Path) -> Path:
    """Return the hidden name under which this process writes a file that it then renames to C(path)."""
    return path.with_name(f".{path.name.removeprefix('.')}.{os.getpid()}.tmp")


def forget_scratch(path: Path) -> None:
    """Remove the scratch files of C(path) that killed processes left. A running process keeps its own."""
    prefix = f".{path.name.removeprefix('.')}."
    for leftover in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        pid = leftover.name[len(prefix) : -len(".tmp")]
        if pid.isdigit() and not Path("/proc", pid).exists():
            leftover.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes, mode: int = 0o644, gid: int | None = None) -> None:
    """Replace a file in one step, on disk before its name: a reader sees the old content or the new.

    Folders above it are made.

    :param gid: group of the file, which root then owns; None leaves the owner as it is.
    :raises InsufficientError: if the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_path(path)
    scratch.unlink(missing_ok=True)
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            if gid is not None:
                os.fchown(stream.fileno(), 0, gid)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        if error.errno in FULL:
            raise _full(path) from None
        raise
    sync(path.parent)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Replace a file of JSON in one step."""
    atomic_write(path, json.dumps(value, indent=2, sort_keys=True) + "\n", mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read an object from a file of JSON; None if there is no such file, or something else in it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(BLOCK):
            digest.update(chunk)
    return digest.hexdigest()


def point(link: Path, target: str | Path) -> None:
    """Make a symbolic link, or change its target in one step."""
    scratch = scratch_path(link)
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        # Another process may be removing the same folder.
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def existing_folder(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def boot_id() -> str:
    """Return the kernel's id of this start of the machine; empty if there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NotFoundError(
            f"the directory {Path(path).parent}", "no such directory", "run role node first, which makes it"
        ) from None


def _is_still(path: str, fd: int) -> bool:
    """Whether a file that is open still has its name: whoever cleans up may have taken it away in between."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: str, patience: float, waiting: Callable[[str], object]) -> Iterator[None]:
    """Hold a lock that ends with its process, however that ends.

    The file stays. Only who holds the lock may remove it; who waited for it then takes a new one.
    """
    fd = _open_lock(path)
    try:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(path, fd):
                    break
                os.close(fd)
                fd = _open_lock(path)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "another process"
                if time.monotonic() - began > patience:
                    raise HerdError(
                        f"{path} to become free within {patience:.0f} s",
                        f"process {holder} still at work on the same file",
                        "wait for it, or stop it; nothing that it fetched is lost",
                    ) from None
                waiting(f"waiting for process {holder}, which fetches the same file")
                time.sleep(0.5)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _trouble(path: Path, error: OSError) -> HerdError:
    return HerdError(
        f"a lock at {path}", str(error.strerror), "see what lies there, and remove it if no fetch has made it"
    )


@contextmanager
def held(paths: Sequence[Path], make: bool = False) -> Iterator[list[Path]]:
    """Hold those of these locks that are free, and say which others somebody holds.

    :param make: make those that are not there; for who then removes what they guard, and them.
    """
    busy: list[Path] = []
    fds: list[int] = []
    try:
        for path in paths:
            try:
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if make else 0)
                fd = os.open(path, flags, 0o600)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _trouble(path, error) from None
            fds.append(fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if make and not _is_still(str(path), fd):
                    # Who held it has removed it; whoever comes next has another one.
                    busy.append(path)
            except BlockingIOError:
                busy.append(path)
            except OSError as error:
                raise _trouble(path, error) from None
        yield busy
    finally:
        for fd in fds:
            os.close(fd)
