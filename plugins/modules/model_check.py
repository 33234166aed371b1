#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_check
short_description: Compare the models on a host with the inventory
version_added: 0.1.0
description:
  - Checks for each file of the models whether it exists, has the right size, the right SHA-256 and a header that the
    engine would accept, and lists the other files in the folder.
  - A file that M(herd.inference.gguf_fetch) verified is not read again while its size and time are the same, unless
    O(rehash) is set. The header of each file is always read, some MiB.
  - No server is asked, and nothing is changed.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  path:
    description: Folder of the models. It need not exist.
    type: path
    required: true
  models:
    description: The models that the host should have, as in the inventory's C(herd_models).
    type: list
    elements: dict
    required: true
  others:
    description: Other models of the inventory. Their files are listed in RV(other).
    type: list
    elements: dict
    default: []
  rehash:
    description: Whether to read all files and compute their SHA-256. This takes as long as the disk needs.
    type: bool
    default: false
seealso:
  - module: herd.inference.gguf_fetch
  - module: herd.inference.gguf_info
  - module: herd.inference.model_lock
"""

EXAMPLES = r"""
- name: Check the models of the head
  herd.inference.model_check:
    path: /opt/models
    models: "{{ [herd_models[herd_model]] }}"
    others: "{{ herd_models.values() | list }}"
"""

RETURN = r"""
files:
  description:
    - The files of O(models). C(state) is V(right), V(unread) (of the right or an unknown size, and not verified),
      V(missing) or V(wrong). C(why) gives the reason.
    - C(problems) lists everything in a model's header that cannot be, as M(herd.inference.gguf_info) does. A model in
      shards has them at its first file. A header that the engine would refuse makes the file V(wrong).
  returned: success
  type: list
  elements: dict
  sample:
    - {file: OR1-Behemoth.Q4_K_M.gguf, state: right, why: unchanged since it was verified, problems: []}
models:
  description: Number of files by state.
  returned: success
  type: dict
  sample: {right: 1}
other:
  description: Names of files that belong to other models of the inventory.
  returned: success
  type: list
  elements: str
  sample: [OR1-Behemoth.Q8_0.gguf]
foreign:
  description: Names of files that are not in the inventory.
  returned: success
  type: list
  elements: str
  sample: [old-model.gguf]
leftover:
  description: Hidden files of interrupted downloads, or of removed models.
  returned: success
  type: list
  elements: str
  sample: [.OR1-Behemoth.Q8_0.gguf.incoming]
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import Target
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf
from ansible_collections.herd.inference.plugins.module_utils.core.models.check import (
    Verdict,
    judge,
    judge_header,
    judge_model,
    ranges_of,
    sort_others,
    targets_of,
)
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file

GOOD = ("right", "unread")


def read(disk: Disk, target: Target) -> list[str]:
    """Read a file and compute the SHA-256 of each range that can be compared."""
    found: list[str] = []
    for file_range in ranges_of(target):
        digest = hashlib.sha256()
        disk.hash_range(target.path, file_range.start, file_range.length, [digest], lambda _count: None)
        found.append(digest.hexdigest())
    return found


def check_model(disk: Disk, targets: Sequence[Target], rehash: bool) -> list[Verdict]:
    """Check the files of one model, and then the header of the whole model."""
    verdicts: list[Verdict] = []
    headers: list[gguf.Header] = []
    for target in targets:
        found = disk.identity(target.path)
        digests = read(disk, target) if rehash and found is not None else None
        verdict = judge(target, found, disk.read_json(target.beside("verified")), digests)
        if verdict.state in GOOD:
            try:
                with open_file(Path(target.path)) as source:
                    header = gguf.read_header(source)
                headers = gguf.with_shard(headers, header, target.path)
                verdict = judge_header(target, header, verdict)
            except HerdError as error:
                verdict = replace(verdict, state="wrong", why=str(error))
        verdicts.append(verdict)
    if all(verdict.state in GOOD for verdict in verdicts):
        verdicts[0] = judge_model(headers, verdicts[0])
    return verdicts


def result(module: HerdModule) -> dict[str, Any]:
    """Check all files, and return the module's result."""
    folder, disk = Path(module.params["path"]), Disk()
    models = [targets_of(str(folder), entry) for entry in module.params["models"]]
    other = [target.name for entry in module.params["others"] for target in targets_of(str(folder), entry)]
    verdicts = [verdict for targets in models for verdict in check_model(disk, targets, module.params["rehash"])]
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {
        "files": [asdict(verdict) for verdict in verdicts],
        "models": dict(sorted(Counter(verdict.state for verdict in verdicts).items())),
        **sort_others(names, [verdict.file for verdict in verdicts], other),
    }


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        models={"type": "list", "elements": "dict", "required": True},
        others={"type": "list", "elements": "dict", "default": []},
        rehash={"type": "bool", "default": False},
    )


if __name__ == "__main__":
    main()
