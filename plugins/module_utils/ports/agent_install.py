# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the agent's files on a node as complete versions, with one link to the current version."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import files
from .host import selinux

KEPT_VERSIONS = 2
#: Packages of module_utils that a node runs, and the suffixes of their files.
PACKAGES, SUFFIXES = ("core", "agent"), (".py", ".css", ".js")


def read_sources(module_utils: Path) -> dict[str, str]:
    """Return the files of a version by path, read from the collection's module_utils.

    Only C(herd) has an C(__init__.py): without one, Python would prefer another package of that name.
    """
    found = {"lib/herd/__init__.py": ""}
    for package in PACKAGES:
        for path in sorted((module_utils / package).rglob("*")):
            if path.suffix in SUFFIXES:
                found[f"lib/herd/{path.relative_to(module_utils).as_posix()}"] = path.read_text(encoding="utf-8")
    return found


def digest(sources: Mapping[str, str]) -> str:
    """Return the version of a set of files: a digest of their names and contents."""
    total = hashlib.sha256()
    for name in sorted(sources):
        total.update(f"{name}\0{len(sources[name].encode())}\0".encode())
        total.update(sources[name].encode())
    return total.hexdigest()[:16]


def read_current(root: Path) -> dict[str, str]:
    """Return the files of the current version by path; empty if it is missing or damaged."""
    base = (root / "current").resolve()
    return {
        str(path.relative_to(base)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(base.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def fixed_links(root: Path) -> dict[Path, Path]:
    """Return the targets of the paths that always lead to the current version."""
    return {root / name: Path("current", name) for name in ("lib", "bin")}


def missing_links(links: Mapping[Path, Path]) -> dict[Path, Path]:
    """Return the links with a wrong or missing target."""
    return {path: target for path, target in links.items() if not path.is_symlink() or path.readlink() != target}


def make_links(links: Mapping[Path, Path]) -> None:
    """Create links.

    :raises FileExistsError: if another file has the name of a link.
    """
    for path, target in links.items():
        if path.exists() and not path.is_symlink():
            raise FileExistsError(f"{path}, which is not a link")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.point(path, target)


def install(root: Path, sources: Mapping[str, str], programs: tuple[str, ...]) -> str:
    """Write a version, and switch the link to it with one rename."""
    version = digest(sources)
    versions = root / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    # A partial version of a killed run has a scratch name.
    target = versions / version
    scratch = Path(tempfile.mkdtemp(prefix=".new.", dir=versions))
    scratch.chmod(0o755)
    for name, content in sources.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(0o755 if name in programs else 0o644)
    # With SELinux, systemd only executes files with a program's label, which new files below /opt lack.
    selinux.relabel(scratch)
    if target.exists():
        shutil.rmtree(target)
    scratch.rename(target)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    for link, to in {root / "current": Path("versions", version), **fixed_links(root)}.items():
        files.point(link, to)
    _prune(versions, version)
    return version


def _prune(versions: Path, current: str) -> None:
    others = sorted(
        (path for path in versions.iterdir() if path.name != current), key=lambda path: path.stat().st_mtime
    )
    for path in others[: max(0, len(others) - KEPT_VERSIONS + 1)]:
        shutil.rmtree(path, ignore_errors=True)
