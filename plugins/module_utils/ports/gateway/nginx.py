# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test nginx's configuration before it is installed, and find out what its processes have read of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ...core.errors import InvalidInputError
from .. import commands

PROC = Path("/proc")


def test(root: Path, files: Mapping[str, str], without: Iterable[str] = ()) -> None:
    """Have nginx test a copy of its configuration that contains these files.

    :param without: files that the copy omits.
    :raises InvalidInputError: if nginx rejects it.
    """
    with tempfile.TemporaryDirectory(prefix="herd-nginx-") as made:
        copy = Path(made) / "nginx"
        shutil.copytree(root, copy, ignore_dangling_symlinks=True)
        for name, text in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(text, encoding="utf-8")
        for name in without:
            (copy / name).unlink(missing_ok=True)
        # Includes with absolute paths must read the copy.
        for path in copy.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            moved = content.replace(f"{root}/".encode(), f"{copy}/".encode())
            if moved != content:
                path.write_bytes(moved)
        answer = commands.run(["nginx", "-q", "-t", "-c", str(copy / "nginx.conf")])
        if answer.rc:
            found = " ".join((answer.out + answer.err).replace(f"{copy}/", f"{root}/").split())
            raise InvalidInputError("a valid nginx configuration", found, "correct the variable or file that it names")


def read_at(master: int) -> float:
    """Return when nginx's youngest process started, which read the configuration last; 0 for none."""
    newest = 0.0
    for status in PROC.glob("[0-9]*/status"):
        with suppress(OSError):
            text = status.read_text(encoding="utf-8", errors="replace")
            if f"\nPPid:\t{master}\n" in text:
                newest = max(newest, status.parent.stat().st_mtime)
    return newest


def is_newer(paths: Iterable[Path], than: float) -> bool:
    """Return whether any of these files is newer."""
    return any(path.exists() and path.stat().st_mtime > than for path in paths)
