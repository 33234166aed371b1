#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_partials_prune
short_description: Remove partial downloads of models that were given up
version_added: 0.1.0
description:
  - A download that is killed keeps its bytes beside its destination, so that the next one continues there. This module
    removes partial downloads to which nothing was written for O(days).
  - The module reads only the hidden files that M(herd.inference.gguf_fetch) makes for itself. It never touches a model.
  - While a download runs in the folder, the module removes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  path:
    description: Folder of the models. It need not exist.
    type: path
    required: true
  days:
    description: Days without a write after which a partial download is removed.
    type: float
    default: 7
seealso:
  - module: herd.inference.gguf_fetch
  - module: herd.inference.model_check
"""

EXAMPLES = r"""
- name: Remove partial downloads older than two weeks
  herd.inference.model_partials_prune:
    path: /opt/models
    days: 14
"""

RETURN = r"""
removed:
  description: Names of the files that were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [.OR1-Behemoth.Q8_0.gguf.incoming, .OR1-Behemoth.Q8_0.gguf.journal]
bytes:
  description: Disk space of these files in bytes.
  returned: success
  type: int
busy:
  description: Locks of running downloads. While there is one, nothing is removed.
  returned: success
  type: list
  elements: str
"""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models import partial_downloads
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.download.locks import hold_free


def read_folder(folder: Path) -> tuple[list[partial_downloads.HiddenFile], list[str]]:
    """Read the hidden files of a folder, and the names of the others."""
    hidden: list[partial_downloads.HiddenFile] = []
    others: list[str] = []
    for entry in os.scandir(folder) if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if not entry.name.startswith("."):
                others.append(entry.name)
            elif stat.S_ISREG(status.st_mode):
                hidden.append(partial_downloads.HiddenFile(entry.name, status.st_blocks * 512, status.st_mtime))
    return hidden, others


def remove(
    folder: Path, partial: partial_downloads.PartialDownload, days: float
) -> partial_downloads.PartialDownload | None:
    """Remove one partial download; None if a download of the same model has started meanwhile."""
    lock = folder / f".{partial.model}.lock"
    is_made = not lock.exists()
    with hold_free([lock], make=True) as busy:
        if busy:
            return None
        # Read the folder again: the lock keeps new downloads out from here on.
        hidden, others = read_folder(folder)
        others_of = [file for file in hidden if not (is_made and file.name == lock.name)]
        found = [left for left in partial_downloads.plan(others_of, others, time.time(), days) if left == partial]
        # The lock is removed last: a process that waits for it makes a new one.
        for name in sorted(partial.files if found else (), key=lambda name: name == lock.name):
            (folder / name).unlink(missing_ok=True)
        if is_made:
            lock.unlink(missing_ok=True)
    return partial if found else None


def result(module: HerdModule) -> dict[str, Any]:
    """Find partial downloads, and remove them unless in check mode."""
    folder, days = Path(module.params["path"]), float(module.params["days"])
    with hold_free(sorted(folder.glob(".*.lock"))) as busy:
        hidden, others = read_folder(folder)
        found = [] if busy else partial_downloads.plan(hidden, others, time.time(), days)
    if not module.check_mode:
        found = [left for left in (remove(folder, partial, days) for partial in found) if left is not None]
    names = [name for partial in found for name in partial.files]
    return {
        "changed": bool(names),
        "removed": names,
        "bytes": sum(partial.size for partial in found),
        "busy": [path.name for path in busy],
        "diff": {"before": "".join(f"{folder / name}\n" for name in names), "after": ""},
    }


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        days={"type": "float", "default": 7},
    )


if __name__ == "__main__":
    main()
