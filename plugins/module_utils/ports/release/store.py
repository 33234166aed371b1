# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change the releases on a node."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...core.errors import MismatchError, NotFoundError
from .. import files
from ..host import selinux
from . import archive
from .sources import download

UNITS = Path("/etc/systemd/system")
HIDDEN = ".incoming-"


class ReleaseStore:
    """The folder C(releases/) and the links C(current) and C(previous) below one prefix."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.releases = prefix / "releases"
        self.current_link = prefix / "current"
        self.previous_link = prefix / "previous"
        self.switch_record = prefix / "switch.json"

    def installed(self) -> list[str]:
        """Return the names of the folders, oldest first, without links."""
        if not self.releases.is_dir():
            return []
        found = [
            path
            for path in self.releases.iterdir()
            if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
        ]
        return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime, path.name))]

    def current(self) -> str | None:
        """Return the id of the current release, or None."""
        return self.current_link.readlink().name if self.current_link.is_symlink() else None

    def previous(self) -> str | None:
        """Return the id of the release before the last switch, or None if it is not installed."""
        name = self.previous_link.readlink().name if self.previous_link.is_symlink() else None
        return name if name and (self.releases / name).is_dir() else None

    def leftovers(self) -> list[Path]:
        """Return the hidden paths that a killed installation or switch has left."""
        return sorted(
            [
                *self.releases.glob(f"{HIDDEN}*"),
                *(
                    scratch
                    for path in (self.current_link, self.previous_link, self.switch_record)
                    for scratch in self.prefix.glob(f".{path.name}.*.tmp")
                ),
            ]
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the node's releases, since a run without its controller may still be at work.

        The lock ends with the process.
        """
        self.releases.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.releases, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def remove_leftovers(self) -> None:
        for leftover in self.leftovers():
            files.remove(leftover)

    def manifest(self, release: str) -> dict[str, Any] | None:
        return files.read_json(self.releases / release / archive.MANIFEST)

    def problems(self, manifest: Mapping[str, Any]) -> list[str]:
        """Return the differences between an installed release and its manifest."""
        return archive.differences(self.releases / str(manifest["id"]), manifest["files"])

    def running_programs(self) -> list[tuple[str, int, str]]:
        """Return release, process id and name of each running program of a release."""
        top = str(self.releases.resolve()) + os.sep
        found: list[tuple[str, int, str]] = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    program = str((process / "exe").readlink())
                except OSError:
                    continue  # It ended, or belongs to the kernel.
                if program.startswith(top):
                    name = program.removesuffix(" (deleted)").rsplit(os.sep, 1)[1]
                    found.append((program[len(top) :].split(os.sep, 1)[0], int(process.name), name))
        return sorted(found)

    def in_use(self) -> list[str]:
        """Return the ids of releases with running programs or units."""
        return sorted(self._named_by_units() | {program[0] for program in self.running_programs()})

    def _named_by_units(self) -> set[str]:
        """Return the ids in unit files: a stopped service may start from such a release at boot."""
        tops = {str(self.releases), str(self.releases.resolve())}
        words = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(tops)))})/([^\s/]+)/")
        found: set[str] = set()
        for unit in UNITS.rglob("*"):
            with suppress(OSError, UnicodeDecodeError):
                if unit.suffix in (".service", ".conf") and not unit.is_symlink():
                    found.update(words.findall(unit.read_text(encoding="utf-8")))
        return found

    def install(self, manifest: Mapping[str, Any], location: str) -> None:
        """Download, verify, unpack under a hidden name, verify, rename, and verify again."""
        release = str(manifest["id"])
        tarball = self._fetch(manifest, location)
        hidden = self.releases / f"{HIDDEN}{release}"
        archive.unpack_verified(tarball, manifest, hidden)
        if tarball.parent == self.releases:
            tarball.unlink()
        hidden.chmod(0o755)
        # Before the rename, since systemd may run a release under its final name.
        selinux.relabel(hidden)
        _sync_files(hidden)
        final = self.releases / release
        if final.exists():
            # The installed files are damaged. Running programs keep their open files.
            final.rename(self.releases / f"{HIDDEN}damaged-{release}")
        hidden.rename(final)
        os.utime(final)
        files.sync(self.releases)
        problems = self.problems(manifest)
        if problems:
            raise MismatchError(
                expected=f"release {release} under {final} as it was verified a moment ago",
                found="; ".join(problems[:5]),
                remedy="check the disk of this node",
            )

    def _fetch(self, manifest: Mapping[str, Any], location: str) -> Path:
        tarball = Path(location)
        if location.startswith("http://"):
            tarball = self.releases / f"{HIDDEN}{manifest['tarball']['name']}"
            download(location, tarball, lambda *_progress: None)
        elif not tarball.is_file():
            raise NotFoundError.plain(f"The tarball {tarball} does not exist", "run the role llama_build again")
        remedy = "run the role llama_build again, which replaces a damaged tarball"
        files.require_sha256(tarball, manifest["tarball"]["sha256"], location, remedy)
        return tarball

    def switch(self, release: str) -> None:
        """Point C(current) to a release in one step, and C(previous) to the former one."""
        current = self.current()
        if current not in (None, release):
            files.point(self.previous_link, Path("releases") / str(current))
        files.point(self.current_link, Path("releases") / release)
        files.sync(self.prefix)

    def set_previous(self, release: str) -> None:
        """Point C(previous) to a release, or remove it for an empty id."""
        if release:
            files.point(self.previous_link, Path("releases") / release)
        else:
            self.previous_link.unlink(missing_ok=True)
        files.sync(self.prefix)

    def pending_switch(self) -> dict[str, Any] | None:
        """Return the record of an unfinished switch, or None."""
        return files.read_json(self.switch_record)

    def begin_switch(self, change: Mapping[str, str]) -> None:
        """Write the record of a switch to disk."""
        files.write_json(self.switch_record, dict(change))

    def end_switch(self) -> None:
        self.switch_record.unlink(missing_ok=True)
        files.sync(self.prefix)

    def remove(self, release: str) -> None:
        """Remove a release. It is renamed first, so that a kill leaves no partial release."""
        hidden = self.releases / f"{HIDDEN}old-{release}"
        files.remove(hidden)
        (self.releases / release).rename(hidden)
        files.remove(hidden)


def _sync_files(root: Path) -> None:
    """Flush all files before the rename: after a power loss, units start from here without a verification."""
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                files.sync(path)
        files.sync(Path(folder))
