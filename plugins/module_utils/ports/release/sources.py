# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch and verify the source of a release."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import InvalidInputError, MismatchError, NotFoundError, RemoteFailureError
from .. import commands, files
from ..download.http_client import REQUESTS_ERROR, HttpClient

CHUNK = 1 << 20
WRONG_ARCHIVE = "fetch the file again, or correct the checksum"
# No credentials are ever asked for, and no hook or configuration of the machine takes part.
GIT_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
Progress = Callable[[str, float, "float | None"], None]


def verified_archive(source: dict[str, Any], cache: Path, progress: Progress) -> Path:
    """Return the local path of an archive with the right checksum."""
    if source["path"]:
        path = Path(source["path"])
        if not path.is_file():
            raise NotFoundError(
                expected=f"the source archive on the build host at {path}",
                found="no such file",
                remedy="copy it there, or set llama_build_archive to a URL",
            )
        files.require_sha256(path, source["sha256"], str(path), WRONG_ARCHIVE)
        return path
    path = cache / f"{source['sha256']}.archive"
    if path.is_file() and files.sha256(path) == source["sha256"]:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    download(source["url"], scratch, progress)
    try:
        files.require_sha256(scratch, source["sha256"], source["url"], WRONG_ARCHIVE)
    except MismatchError:
        scratch.unlink()
        raise
    scratch.replace(path)
    return path


def download(url: str, to: Path, progress: Progress) -> None:
    """Download a file. The caller verifies its content."""
    client = HttpClient()
    remote = client.describe(url)
    total = remote.size / CHUNK if remote.size else None
    with to.open("wb") as sink:
        for position, data in client.read(url, remote.size, remote.tag):
            sink.seek(position)
            sink.write(data)
            progress("downloading", (position + len(data)) / CHUNK, total)
        sink.flush()
        os.fsync(sink.fileno())


def check_available(source: dict[str, Any], tree: Path, cache: Path) -> None:
    """Check that the source is available, without a download."""
    if source["kind"] != "archive" or tree.with_name(f"{tree.name}.ready").is_file():
        return
    if source["path"]:
        verified_archive(source, cache, lambda *_progress: None)
    elif REQUESTS_ERROR is None and not (cache / f"{source['sha256']}.archive").is_file():
        HttpClient().describe(source["url"])


def prepare(source: dict[str, Any], tree: Path, cache: Path, log: Path, progress: Progress) -> None:
    """Create the source tree, unless it is complete already."""
    stamp = tree.with_name(f"{tree.name}.ready")
    if stamp.is_file() and tree.is_dir():
        return
    partial = tree.with_name(f"{tree.name}.partial")
    files.remove(tree)
    files.remove(partial)
    progress("fetching the source", 0, None)
    if source["kind"] == "git":
        _fetch_commit(source, partial, log)
    else:
        archive = verified_archive(source, cache, progress)
        progress("unpacking the source", 0, None)
        if source["packing"] == "git_bundle":
            _clone_bundle(archive, source, partial, log)
        else:
            unpack(archive, partial, source["inner_path"])
            # It points to a missing repository, with which ninja never ends.
            files.remove(partial / ".git")
    partial.rename(tree)
    stamp.touch()


def _git(arguments: list[str], log: Path) -> None:
    commands.run_logged(["git", "-c", "advice.detachedHead=false", *arguments], log, env=GIT_ENV)


def _fetch_commit(source: dict[str, Any], tree: Path, log: Path) -> None:
    """Fetch one commit without its history."""
    tree.mkdir(parents=True)
    _git(["-C", str(tree), "init", "--quiet"], log)
    _git(["-C", str(tree), "fetch", "--quiet", "--depth=1", "--", source["repository"], source["commit"]], log)
    _git(["-C", str(tree), "checkout", "--quiet", "--detach", source["commit"]], log)
    _require_commit(tree, source["commit"])


def _clone_bundle(archive: Path, source: dict[str, Any], tree: Path, log: Path) -> None:
    bundle = tree.with_name(f"{tree.name}.bundle")
    files.remove(bundle)
    extract_file(archive, source["inner_path"], bundle)
    _git(["clone", "--quiet", "--", str(bundle), str(tree)], log)
    bundle.unlink()
    _require_commit(tree, source["commit"])


def _require_commit(tree: Path, commit: str) -> None:
    head = commands.run(["git", "-C", str(tree), "rev-parse", "HEAD"], env=GIT_ENV).out.strip()
    if not head.startswith(commit):
        raise MismatchError(
            expected=f"commit {commit} in the fetched source",
            found=head or "no commit",
            remedy="correct the commit in the catalogue, or the repository",
        )
    status = commands.run(["git", "-C", str(tree), "status", "--porcelain"], env=GIT_ENV, timeout=300)
    if status.rc != 0 or status.out.strip():
        raise RemoteFailureError(
            expected="a clean source tree after the checkout",
            found=(status.out or status.err).strip()[:500],
            remedy="remove the build directory of this release and run the playbook again",
        )


def _inside(name: str, top: PurePosixPath) -> PurePosixPath | None:
    """Return the path of an archive's member relative to C(top), or None if it is outside."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _hostile(name)
    try:
        return path.relative_to(top)
    except ValueError:
        return None


def _hostile(name: str) -> InvalidInputError:
    return InvalidInputError(
        expected="an archive whose members are inside of it",
        found=repr(name),
        remedy="do not use this archive, which writes to other folders",
    )


def _require_inside(member: tarfile.TarInfo, inside: PurePosixPath) -> None:
    """Check that a link points to a path below the top."""
    if not (member.issym() or member.islnk()):
        return
    target = PurePosixPath(member.linkname)
    steps = (-1 if part == ".." else 1 for part in (*inside.parent.parts, *target.parts))
    if target.is_absolute() or min(accumulate(steps), default=0) < 0:
        raise _hostile(f"{member.name} -> {member.linkname}")


def unpack(archive: Path, to: Path, inner_path: str) -> None:
    """Unpack one folder of a tar archive, with its files and links and with default modes."""
    top = PurePosixPath(inner_path)
    to.mkdir(parents=True)
    found = False
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = _inside(member.name, top)
            if inside is None or not inside.parts:
                continue
            if not (member.isfile() or member.isdir() or member.issym()):
                raise _hostile(f"{member.name} (neither file, folder nor symbolic link)")
            _require_inside(member, inside)
            found = True
            member.name = str(inside)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
            if hasattr(tarfile, "data_filter"):
                tar.extract(member, to, filter="data")
            else:
                tar.extract(member, to)
    if not found:
        raise _not_in(archive, inner_path, "no such folder")


def extract_file(archive: Path, inner_path: str, to: Path) -> None:
    """Copy one file out of a tar archive."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and PurePosixPath(member.name) == PurePosixPath(inner_path):
                stream = tar.extractfile(member)
                if stream is not None:
                    with to.open("wb") as sink:
                        shutil.copyfileobj(stream, sink, CHUNK)
                    return
    raise _not_in(archive, inner_path, "no such file")


def _not_in(archive: Path, inner_path: str, found: str) -> NotFoundError:
    remedy = "correct inner_path in the catalogue's entry for this archive"
    return NotFoundError(f"{inner_path} in {archive}", found, remedy)
