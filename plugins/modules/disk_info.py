#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: disk_info
short_description: Read the free space of the file systems that the services use
version_added: 0.1.0
description:
  - Returns the free space and the state of each file system under O(paths). For a path that does not exist yet, the
    module reads the nearest folder above it.
  - A file system is V(low) with less than O(low_gib) and less than 10 % free, and V(full) with less than O(full_gib)
    and less than 2 % free. On a full file system the journal loses lines, downloads fail, and an RPC worker truncates
    its cache files without an error.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  paths:
    description: Paths on the file systems.
    type: list
    elements: path
    required: true
  low_gib:
    description: GiB below which a file system is low.
    type: float
    default: 10
  full_gib:
    description: GiB below which a file system is full.
    type: float
    default: 1
  refuse:
    description: Whether to fail if a file system is full, and to warn if one is low.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop if a file system is full
  herd.inference.disk_info:
    paths: [/opt/models, /var/log, /var/cache/herd]
    refuse: true
"""

RETURN = r"""
disks:
  description: The file systems, each under the first of its paths.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /opt/models, free_mib: 163840, total_mib: 953344, state: ok}
"""

import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import disk_space
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import disks


def result(module: HerdModule) -> dict[str, Any]:
    """Read the file systems and return the module's result."""
    options = module.params
    limits = disk_space.DiskLimits(options["low_gib"], options["full_gib"])
    spaces = [disk_space.DiskSpace(*mount) for mount in disks.mounts([Path(path) for path in options["paths"]])]
    judged = [(space, disk_space.state_of(space, limits)) for space in spaces]
    if options["refuse"]:
        trouble = disk_space.full_error(spaces, limits, socket.gethostname())
        if trouble is not None:
            raise trouble
        for space, state in judged:
            if state == disk_space.LOW:
                module.warn(disk_space.describe(space, state))
    return {"changed": False, "disks": [{**asdict(space), "state": state} for space, state in judged]}


def main() -> None:
    run_module(
        result,
        paths={"type": "list", "elements": "path", "required": True},
        low_gib={"type": "float", "default": disk_space.DiskLimits.low_gib},
        full_gib={"type": "float", "default": disk_space.DiskLimits.full_gib},
        refuse={"type": "bool", "default": False},
    )


if __name__ == "__main__":
    main()
