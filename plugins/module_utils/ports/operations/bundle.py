# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the parts of a support bundle on a host, and write the archive."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...core.errors import HerdError, NotFoundError
from .. import commands, files, systemd

#: Folder whose protected files contain the secrets to replace.
SECRETS = Path("/etc/herd")
#: The unit in front of the gateway, which is not the collection's own, and a file that shows that it is used.
WEB_SERVER = "nginx.service"
GATEWAY = SECRETS / "gateway.json"
# Seconds after which a command is killed, so that it does not block the others.
PATIENCE_S = 30.0
LARGEST = 32 << 20
#: Limits of the logs of jobs: their number, and the bytes that are kept of each.
MOST_LOGS, LARGEST_LOG = 60, 2 << 20


def run(argv: Sequence[str]) -> str | None:
    """Return the output of a command, or None if the program is not installed."""
    try:
        answer = commands.run(argv, timeout=PATIENCE_S)
    except HerdError as error:
        is_missing = isinstance(error, NotFoundError) and not Path(argv[0]).is_absolute()
        return None if is_missing else f"{error}\n"
    return (answer.out + answer.err)[-LARGEST:] + (f"[status {answer.rc}]\n" if answer.rc else "")


def read(path: str) -> str | None:
    """Return the text of a file, or None if it does not exist."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            return stream.read(LARGEST)
    except OSError:
        return None


def newest_logs(folder: Path, is_log: Callable[[str], object]) -> list[Path]:
    """List the newest files of the jobs' logs: those of the folder, and those in the folders of jobs."""
    try:
        entries = [path for path in folder.iterdir() if is_log(path.name)]
    except OSError:
        return []
    inside = [file for path in entries if path.is_dir() and not path.is_symlink() for file in path.iterdir()]
    logs = [path for path in [*entries, *inside] if path.is_file() and not path.is_symlink()]
    return sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True)[:MOST_LOGS]


def read_end(path: Path) -> str | None:
    """Return the end of a file, or None if it does not exist any more."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(max(0, size - LARGEST_LOG))
            return stream.read(LARGEST_LOG).decode(errors="replace")
    except OSError:
        return None


def guarded_files(folder: Path) -> list[Path]:
    """Return the files below a folder that not all users can read, since they contain secrets."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.stat().st_mode & stat.S_IROTH
    ]


def units(is_ours: Callable[[str], bool], folder: Path) -> list[str]:
    """Return the names of the collection's units."""
    return sorted(path.name for path in folder.glob("*.service") if path.is_file() and is_ours(read(str(path)) or ""))


def service_units(is_ours: Callable[[str], bool]) -> list[str]:
    """Return the collection's units on this host, and nginx where it is in front of the gateway."""
    return units(is_ours, systemd.UNIT_DIRECTORY) + ([WEB_SERVER] if GATEWAY.is_file() else [])


def known_secrets(secrets_in: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the secrets in the protected files of the collection's configuration.

    :param secrets_in: finds the secrets in the text of a file.
    """
    return [word for path in guarded_files(SECRETS) for word in secrets_in(path.read_text(errors="replace"))]


def write(path: Path, top: str, texts: Mapping[str, str]) -> None:
    """Write the archive in one step, readable by root only."""
    with files.replacing(path) as scratch:
        scratch.touch(mode=0o600)
        with tarfile.open(scratch, mode="w:gz") as archive:
            for entry, text in sorted(texts.items()):
                data = text.encode(errors="replace")
                info = tarfile.TarInfo(f"{top}/{entry}")
                info.size, info.mode = len(data), 0o600
                archive.addfile(info, io.BytesIO(data))
