# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look through caches and folders of earlier jobs, and remove what was planned. No link is followed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ....core.errors import InvalidInputError, NotFoundError
from ....core.vllm import cache_cleanup
from ....core.vllm.cache_cleanup import COMPILED, JOBS, MODELS, Entry, Removal
from ....core.vllm.config import Config
from .model_facts import cache_folders

#: Files that are counted below an entry; its size is a lower bound beyond.
MOST_FILES = 200_000


def roots(config: Config, work_dir: Path) -> list[tuple[str, str, Path]]:
    """List the directories that may be cleaned: the key that names each, its kind, and its path."""
    cache = cache_folders(config)
    return [
        ("cache.huggingface_cache", MODELS, Path(cache.huggingface, "hub")),
        ("cache.xdg_cache_home", COMPILED, Path(cache.xdg, "vllm")),
        ("cache.xdg_cache_home", COMPILED, Path(cache.xdg, "torchinductor")),
        ("cache.triton_cache_dir", COMPILED, Path(cache.triton)),
        ("paths.work_dir", JOBS, work_dir / "jobs"),
        ("paths.work_dir", JOBS, work_dir / "logs"),
        ("paths.work_dir", JOBS, work_dir / "status"),
    ]


def _walk(path: Path) -> Iterator[os.stat_result]:
    """Yield the status of an entry and all below it, without following links. A job may remove files meanwhile."""
    with suppress(OSError):
        yield path.lstat()
    if not path.is_symlink() and path.is_dir():
        for folder, names, files in os.walk(path):
            for name in (*names, *files):
                with suppress(OSError):
                    yield Path(folder, name).lstat()


def _entry(root: Path, path: Path, kind: str) -> Entry:
    size, used = 0, 0.0
    for count, found in enumerate(_walk(path)):
        size += found.st_blocks * 512
        used = max(used, found.st_mtime, found.st_atime if stat.S_ISREG(found.st_mode) else 0.0)
        if count >= MOST_FILES:
            break
    return Entry(str(root), path.name, kind, size, used, path.is_symlink())


def _children(path: Path) -> list[str]:
    with suppress(OSError):
        return [] if path.is_symlink() else [one.name for one in path.iterdir()]
    return []


def scan(config: Config, work_dir: Path, kinds: Mapping[str, object]) -> list[Entry]:
    """List the entries of all directories that may be cleaned.

    :param kinds: the kinds that the user wants to clean.
    :raises InvalidInputError: if a directory is not one of the user's own.
    """
    home = str(Path.home().resolve())
    found = []
    for key, kind, path in roots(config, work_dir):
        if kind not in kinds or not path.is_dir():
            continue
        root = path.resolve()
        cache_cleanup.check_root(key, str(root), home)
        if root.stat().st_uid != os.geteuid():
            raise InvalidInputError(
                f"a directory of yours as {key}", f"{root}, which belongs to another user", "correct config.yaml"
            )
        names = [one.name for one in root.iterdir()]
        if key == "cache.triton_cache_dir":
            names = [name for name in names if cache_cleanup.is_of_triton(name, _children(root / name))]
        found += [_entry(root, root / name, kind) for name in names]
    return found


def remove(removal: Removal) -> None:
    """Remove a planned entry. It must still be what it was: no link, and directly below its directory.

    :raises NotFoundError: if it cannot be removed.
    """
    root = Path(removal.entry.root)
    path = root / removal.entry.name
    name = removal.entry.name
    if "/" in name or name in ("", ".", "..") or path.is_symlink() or root.resolve() != root:
        raise InvalidInputError(
            f"{path} as it was planned", "a link or another place", "run herdctl vllm cleanup again"
        )
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise NotFoundError(
            f"permission to remove {error.filename or path}", error.strerror or str(error), "see who owns it"
        ) from error
