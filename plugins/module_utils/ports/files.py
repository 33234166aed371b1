# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that survive a crash at any moment, and the ids of their owners."""

from __future__ import annotations

import errno
import glob
import grp
import hashlib
import json
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core.errors import InsufficientError, MismatchError, NotFoundError

BLOCK = 4 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
#: Mode of a file with secrets: root writes it, and its group reads it.
SECRET_MODE = 0o640


def disk_full(path: Path) -> InsufficientError:
    return InsufficientError.plain(
        f"The disk is full, so {path} was not written completely",
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the hidden name under which to write a file, which replaces C(path) at the end and goes after an error."""
    scratch = path.with_name(f".{path.name.removeprefix('.')}.{os.getpid()}.tmp")
    scratch.unlink(missing_ok=True)
    try:
        yield scratch
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


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
    try:
        with replacing(path) as scratch:
            fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as stream:
                stream.write(content.encode() if isinstance(content, str) else content)
                if gid is not None:
                    os.fchown(stream.fileno(), 0, gid)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise disk_full(path) if error.errno in FULL else error from None
    sync(path.parent)


def write_secret(path: Path, content: str, gid: int) -> None:
    """Replace a file that only root and a group can read, in a folder that only they can enter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.chown(path.parent, 0, gid)
    path.parent.chmod(0o750)
    atomic_write(path, content, SECRET_MODE, gid)


def has_owner(path: Path, mode: int, gid: int) -> bool:
    """Return whether a file exists with this mode, and belongs to root and this group."""
    if not path.exists():
        return False
    status = path.stat()
    return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, gid, mode)


def read_text(path: Path) -> str:
    """Return the text of a file; empty if it does not exist."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def required_text(path: str | None, role: str) -> str:
    """Return the text of a file that a role writes; empty without a path."""
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except OSError as error:
        raise NotFoundError(f"the file {path}", error.strerror or "none", f"run the role {role}") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a file of JSON in one step."""
    atomic_write(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


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
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(BLOCK):
            digest.update(chunk)
    return digest.hexdigest()


def require_sha256(path: Path, expected: str, name: str, remedy: str) -> None:
    """Check the content of a file, which the error calls C(name)."""
    found = sha256(path)
    if found != expected:
        raise MismatchError(f"sha256 {expected} of {name}", found, remedy)


def point(link: Path, target: Path) -> None:
    """Make a symbolic link, or change its target in one step."""
    if link.is_symlink() and link.readlink() == target:
        return
    with replacing(link) as scratch:
        scratch.symlink_to(target)


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
