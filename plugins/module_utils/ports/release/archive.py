# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure, pack, unpack and verify the files of a release."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import MismatchError
from .. import files
from .sources import unpack

MANIFEST = "manifest.json"
# The bytes go over a fast network once; the time to compress them is what would be noticed.
COMPRESSION = 1


def measure(root: Path) -> dict[str, dict[str, Any]]:
    """Return checksum, size and mode of each file, and targets of links, by relative path, without the manifest."""
    found: dict[str, dict[str, Any]] = {}
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if relative == MANIFEST:
                continue
            if path.is_symlink():
                found[relative] = {"link": str(path.readlink())}
            else:
                status = path.stat()
                found[relative] = {
                    "sha256": files.sha256(path),
                    "size": status.st_size,
                    "mode": f"0{status.st_mode & 0o777:o}",
                }
    return dict(sorted(found.items()))


def differences(root: Path, expected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the missing, extra and different files below C(root), one sentence each."""
    if not root.is_dir():
        return ["the folder is missing"]
    found = measure(root)
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} does not belong there" for name in found if name not in expected]
    problems += [f"{name} differs" for name in expected if name in found and dict(expected[name]) != found[name]]
    return sorted(problems)


def pack(root: Path, top: str, tarball: Path) -> dict[str, Any]:
    """Write a reproducible tar archive of C(root) under the name C(top), and return its checksum and size."""
    with files.replacing(tarball) as scratch, scratch.open("wb") as sink:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=sink, compresslevel=COMPRESSION, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in sorted([root, *root.rglob("*")]):
                _add(tar, path, f"{top}/{path.relative_to(root).as_posix()}".removesuffix("/."))
        sink.flush()
        os.fsync(sink.fileno())
        scratch.chmod(0o644)
    return {"name": tarball.name, "sha256": files.sha256(tarball), "size": tarball.stat().st_size}


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tar.gettarinfo(str(path), arcname=name)
    member.mtime = 0
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    if member.isfile():
        # Otherwise, a second name of the same inode becomes a hard link, depending on the order.
        member.type = tarfile.REGTYPE
        member.size = path.stat().st_size
        with path.open("rb") as stream:
            tar.addfile(member, stream)
    else:
        tar.addfile(member, io.BytesIO())


def unpack_verified(tarball: Path, manifest: Mapping[str, Any], to: Path) -> None:
    """Unpack a release to a new folder, and compare each file with the manifest."""
    files.remove(to)
    unpack(tarball, to, str(manifest["id"]))
    problems = differences(to, manifest["files"])
    if problems:
        files.remove(to)
        raise MismatchError(
            expected=f"the files of release {manifest['id']} as its manifest lists them",
            found="; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else ""),
            remedy="build the release again on the build host, and check this machine's disk and memory",
        )
