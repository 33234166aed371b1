#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prune
short_description: Remove releases that are neither used nor needed for a rollback
version_added: 0.1.0
description:
  - Removes old releases like M(herd.inference.release_install), and what a killed installation left.
  - Never removes a release to which C(current), C(previous), a unit of systemd or the record of a killed switch points,
    or from which a program runs. Removes nothing without C(current).
  - Ignores links in C(releases/), and folders without the name of a release.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  prefix:
    description: Folder that holds C(releases/) and C(current). May be missing.
    type: path
    required: true
  keep:
    description: Number of releases to keep besides the current one, including the previous one.
    type: int
    default: 2
"""

EXAMPLES = r"""
- name: Keep only the current and the previous release
  herd.inference.release_prune:
    prefix: /opt/llama.cpp
    keep: 1
"""

RETURN = r"""
removed:
  description: Ids of the releases that were removed, or would be removed.
  returned: success
  type: list
  elements: str
  sample: [b7836-cuda70-11aa22bb]
kept:
  description: Ids of the kept releases, oldest first.
  returned: success
  type: list
  elements: str
  sample: [0c1e57098-cuda70-5f1c20ab]
leftovers:
  description: Paths that a killed installation left.
  returned: success
  type: list
  elements: str
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_switch
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore


def result(module: HerdModule) -> dict[str, Any]:
    """Remove old releases and leftovers, and return the module's result."""
    store, keep = ReleaseStore(Path(module.params["prefix"])), max(0, module.params["keep"])
    # The lock would create a missing folder.
    with nullcontext() if module.check_mode or not store.releases.is_dir() else store.locked():
        current, leftovers = store.current(), store.leftovers()
        installed = release_install.release_ids(store.installed())
        going: tuple[str, ...] = ()
        if current in installed:
            needed = [*store.in_use(), *release_switch.read_record(store.pending_switch()).values()]
            plan = release_install.plan(current, True, current, installed, needed, keep, store.previous())
            going = plan.prune
        if not module.check_mode:
            for release in going:
                store.remove(release)
            store.remove_leftovers()
    kept = [release for release in installed if release not in going]
    return {
        "changed": bool(going or leftovers),
        "removed": list(going),
        "kept": kept,
        "leftovers": [str(path) for path in leftovers],
        "diff": {
            "before": "".join(f"{name}\n" for name in [*installed, *map(str, leftovers)]),
            "after": "".join(f"{name}\n" for name in kept),
        },
    }


def main() -> None:
    run_module(
        result,
        prefix={"type": "path", "required": True},
        keep={"type": "int", "default": 2},
    )


if __name__ == "__main__":
    main()
