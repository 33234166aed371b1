#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module model_leftovers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_leftovers
short_description: Remove what fetches of models that were given up have left
version_added: 0.2.0
description:
  - A fetch that is killed leaves what it has beside its destination, so that the next one continues there. This module
    removes what no fetch has come back to for O(days).
  - Only the hidden files that M(herd.inference.gguf_fetch) makes for itself are looked at; a model is never touched.
  - While any fetch is under way in the folder, nothing is removed.
author:
  - herd.inference contributors (@herd-inference)
attributes:
  check_mode:
    description: Says what would be removed.
    support: full
  diff_mode:
    description: Shows the files that go.
    support: full
options:
  path:
    description: Folder of the models. It need not exist.
    type: path
    required: true
  days:
    description: For how many days nothing was written to what goes.
    type: float
    default: 7
"""

EXAMPLES = r"""
- name: Give up what nobody came back to for two weeks
  herd.inference.model_leftovers:
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
  description: Bytes that they had.
  returned: success
  type: int
  sample: 47369119648
busy:
  description: Locks that a fetch holds which is under way; because of them nothing is removed.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import partial_downloads
from ansible_collections.herd.inference.plugins.module_utils.ports.files import held


def look(folder: Path) -> tuple[list[partial_downloads.Hidden], list[str]]:
    """The hidden files of a folder, and the names of the others."""
    hidden: list[partial_downloads.Hidden] = []
    others: list[str] = []
    for entry in os.scandir(folder) if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if not entry.name.startswith("."):
                others.append(entry.name)
            elif stat.S_ISREG(status.st_mode):
                hidden.append(partial_downloads.Hidden(entry.name, status.st_blocks * 512, status.st_mtime))
    return hidden, others


def remove(folder: Path, leftover: partial_downloads.Leftover, days: float) -> partial_downloads.Leftover | None:
    """Remove what one fetch left, unless a fetch of the same model has begun meanwhile: then None."""
    lock = folder / f".{leftover.model}.lock"
    is_made = not lock.exists()
    with held([lock], make=True) as busy:
        if busy:
            return None
        # What is there now that nobody can begin any more.
        hidden, others = look(folder)
        others_of = [file for file in hidden if not (is_made and file.name == lock.name)]
        found = [left for left in partial_downloads.plan(others_of, others, time.time(), days) if left == leftover]
        # The lock goes last: who waits for it takes a new one.
        for name in sorted(leftover.files if found else (), key=lambda name: name == lock.name):
            (folder / name).unlink(missing_ok=True)
        if is_made:
            lock.unlink(missing_ok=True)
    return leftover if found else None


def result(module: AnsibleModule) -> dict[str, Any]:
    """Look, and remove what goes."""
    folder, days = Path(module.params["path"]), float(module.params["days"])
    with held(sorted(folder.glob(".*.lock"))) as busy:
        hidden, others = look(folder)
        found = [] if busy else partial_downloads.plan(hidden, others, time.time(), days)
    if not module.check_mode:
        found = [left for left in (remove(folder, leftover, days) for leftover in found) if left is not None]
    names = [name for leftover in found for name in leftover.files]
    return {
        "changed": bool(names),
        "removed": names,
        "bytes": sum(leftover.size for leftover in found),
        "busy": [path.name for path in busy],
        "diff": {"before": "".join(f"{folder / name}\n" for name in names), "after": ""},
    }


def main() -> None:
    """Read the arguments, remove, answer."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}, "days": {"type": "float", "default": 7}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        trouble = HerdError(
            f"to read and tidy the folder {module.params['path']}",
            f"{error.strerror} at {error.filename}",
            "correct that, and run again",
        )
        module.fail_json(msg=str(trouble))


if __name__ == "__main__":
    main()
