# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's files on a node: complete versions side by side, and one link that is turned over at once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import files
from .host import selinux

KEPT_VERSIONS = 2
#: Packages of module_utils that a node runs, and the endings of the files in them that belong to a version.
PACKAGES, ENDINGS = ("core", "agent"), (".py", ".css", ".js")


def read_sources(module_utils: Path) -> dict[str, str]:
    """Read the files that a node runs from the collection's module_utils, by their path in a version.

    Only C(herd) itself has an C(__init__.py): without one, another package of that name would take its place.
    """
    found = {"lib/herd/__init__.py": ""}
    for package in PACKAGES:
        for path in sorted((module_utils / package).rglob("*")):
            if path.suffix in ENDINGS:
                found[f"lib/herd/{path.relative_to(module_utils).as_posix()}"] = path.read_text(encoding="utf-8")
    return found


def digest(sources: Mapping[str, str]) -> str:
    """Name a set of sources by their names and contents."""
    total = hashlib.sha256()
    for name in sorted(sources):
        total.update(f"{name}\0{len(sources[name].encode())}\0".encode())
        total.update(sources[name].encode())
    return total.hexdigest()[:16]


def current_version(root: Path) -> str:
    """Name the version in use, or nothing where there is none or it was damaged."""
    link = root / "current"
    return link.resolve().name if link.is_symlink() and link.exists() else ""


def read_version(root: Path, version: str) -> dict[str, str]:
    """Read what is installed, to compare it with what should be."""
    base = root / "versions" / version
    if not version or not base.is_dir():
        return {}
    return {
        str(path.relative_to(base)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(base.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _point(link: Path, target: str) -> None:
    if link.is_symlink() and str(link.readlink()) == target:
        return
    files.point(link, target)


def links_stand(root: Path) -> bool:
    """Say whether the fixed paths lead into the version in use."""
    wanted = {"lib": "current/lib", "bin": "current/bin"}
    return all((root / n).is_symlink() and str((root / n).readlink()) == t for n, t in wanted.items())


def missing_links(links: Mapping[Path, Path]) -> dict[Path, Path]:
    """Name those links elsewhere on this host that do not lead where they should."""
    return {path: target for path, target in links.items() if not path.is_symlink() or path.readlink() != target}


def make_links(links: Mapping[Path, Path]) -> None:
    """Make them; a file of that name that is no link is somebody else's and stays."""
    for path, target in links.items():
        if path.exists() and not path.is_symlink():
            raise FileExistsError(f"{path}, which is no link")
        path.parent.mkdir(parents=True, exist_ok=True)
        _point(path, str(target))


def install(root: Path, sources: Mapping[str, str], programs: tuple[str, ...]) -> str:
    """Write a version beside the one in use and switch to it with one rename."""
    version = digest(sources)
    versions = root / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    # A version that a killed run left half-written has a scratch name, never this one.
    target = versions / version
    scratch = Path(tempfile.mkdtemp(prefix=".new.", dir=versions))
    scratch.chmod(0o755)
    for name, content in sources.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(0o755 if name in programs else 0o644)
    # systemd executes what is labelled as a program, which a new file below /opt is not by itself.
    selinux.relabel(scratch)
    if target.exists():
        shutil.rmtree(target)
    scratch.rename(target)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    _point(root / "current", f"versions/{version}")
    _point(root / "lib", "current/lib")
    _point(root / "bin", "current/bin")
    _prune(versions, version)
    return version


def _prune(versions: Path, current: str) -> None:
    others = sorted(
        (path for path in versions.iterdir() if path.name != current), key=lambda path: path.stat().st_mtime
    )
    for path in others[: max(0, len(others) - KEPT_VERSIONS + 1)]:
        shutil.rmtree(path, ignore_errors=True)
