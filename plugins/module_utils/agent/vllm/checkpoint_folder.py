# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a checkpoint's facts from a local folder, such as a snapshot in the Hub's cache."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...core.errors import InvalidInputError, NotFoundError
from ...core.vllm import cache_cleanup
from ...core.vllm.planning import checkpoint
from ...core.vllm.planning.checkpoint import Checkpoint


class OpenFile:
    """An open file of the folder."""

    def __init__(self, path: Path, handle: int) -> None:
        self._handle = handle
        self.name = str(path)
        self.size = os.fstat(handle).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer only at the end."""
        return os.pread(self._handle, length, offset)


class CheckpointFolder:
    """A folder with config.json and safetensors files."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    @contextlib.contextmanager
    def open(self, file: str) -> Iterator[OpenFile]:
        """Open a file for reads at offsets."""
        path = self._path / file
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFoundError(f"the file {path}", "none", "download the model, or correct the path") from None
        except OSError as error:
            raise InvalidInputError(f"a file that can be read at {path}", str(error.strerror), "correct it") from None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InvalidInputError(f"a file at {path}", "something else", "correct the path")
            yield OpenFile(path, handle)
        finally:
            os.close(handle)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint in a folder."""
    return checkpoint.read(CheckpointFolder(path))


def find(cache: Path, huggingface_id: str, revision: str = "main") -> Path | None:
    """Find a model in the Hub's cache (HF_HOME/hub): the revision's snapshot, else the newest one; None without one."""
    repository = cache / cache_cleanup.model_folder(huggingface_id)
    commit = ""
    with suppress(OSError, UnicodeDecodeError):
        commit = (repository / "refs" / revision).read_text(encoding="ascii").strip()
    snapshots = []
    with suppress(OSError):
        found = [path for path in (repository / "snapshots").iterdir() if (path / checkpoint.CONFIG).is_file()]
        snapshots = sorted(found, key=lambda path: (path.name == commit, path.stat().st_mtime))
    return snapshots[-1] if snapshots else None
