#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_files_info
short_description: List the verified model files of a host without reading them
version_added: 0.1.0
description:
  - M(herd.inference.gguf_fetch) records the size, time and SHA-256 of a verified file in C(.NAME.verified) beside the
    file. While size and time are the same, the SHA-256 is still right.
  - No server is asked and no model is read, so the module takes no time, and the host needs no internet.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  path:
    description: Folder of the models. It need not exist.
    type: path
    required: true
  files:
    description: Names of files in the folder.
    type: list
    elements: str
    required: true
seealso:
  - module: herd.inference.gguf_fetch
  - plugin: herd.inference.model_distribution
    plugin_type: filter
"""

EXAMPLES = r"""
- name: List the verified models of this node
  herd.inference.model_files_info:
    path: /opt/models
    files: [OR1-Behemoth.Q4_K_M.gguf]
"""

RETURN = r"""
known:
  description: SHA-256 by name of the files that are unchanged since they were verified.
  returned: success
  type: dict
  sample:
    OR1-Behemoth.Q4_K_M.gguf: 0f0e4ee0c5d8dd4d0a6e9ff0ec8a0a32fcdb4a53aab4c8d6f3d9a4d3ed1a6f5b
others:
  description: Names of files that were never verified, or changed since.
  returned: success
  type: list
  elements: str
missing:
  description: Names of missing files.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import Target
from ansible_collections.herd.inference.plugins.module_utils.core.download.verification_record import recorded_sha256
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk


def result(module: HerdModule) -> dict[str, Any]:
    """Sort the files into known, others and missing."""
    disk, folder = Disk(), module.params["path"].rstrip("/")
    found: dict[str, Any] = {"known": {}, "others": [], "missing": []}
    for name in module.params["files"]:
        target = Target(f"{folder}/{name}", ())
        file = disk.identity(target.path)
        digest = recorded_sha256(disk.read_json(target.beside("verified")), file)
        if file is None:
            found["missing"].append(name)
        elif digest is None:
            found["others"].append(name)
        else:
            found["known"][name] = digest
    return found


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        files={"type": "list", "elements": "str", "required": True},
    )


if __name__ == "__main__":
    main()
