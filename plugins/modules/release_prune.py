#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release_prune."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prune
short_description: Remove releases that are neither used nor needed for going back
version_added: 0.2.0
description:
  - Does what M(herd.inference.release_install) does after an installation, without one; and removes what an
    installation that was killed left.
  - The releases that C(current) and C(previous) name, that a running program was started from, that a unit of
    systemd names and that a change which was killed has noted are never removed. Nothing is removed where there is no
    C(current).
  - What lies in C(releases/) under a name that is not a release's, or is a link, neither counts nor goes.
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  prefix:
    description: Folder that holds C(releases/) and C(current). It need not exist.
    type: path
    required: true
  keep:
    description: How many releases besides the current one stay, the one before it among them.
    type: int
    default: 2
"""

EXAMPLES = r"""
- name: Keep the current release and the one before it only
  herd.inference.release_prune:
    prefix: /opt/llama.cpp
    keep: 1
"""

RETURN = r"""
removed:
  description: Ids of the releases that were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [b7836-cuda70-11aa22bb]
kept:
  description: Ids of the releases that stay, oldest first.
  returned: success
  type: list
  elements: str
  sample: [0c1e57098-cuda70-5f1c20ab]
leftovers:
  description: Paths that an installation left that was killed.
  returned: success
  type: list
  elements: str
  sample: []
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_switch
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore


def result(module: AnsibleModule) -> dict[str, Any]:
    """Look, and remove what goes."""
    store, keep = ReleaseStore(Path(module.params["prefix"])), max(0, module.params["keep"])
    # No folder is made where there is none.
    with nullcontext() if module.check_mode or not store.releases.is_dir() else store.alone():
        current, leftovers = store.current(), store.leftovers()
        installed = release_install.ours(store.installed())
        going: tuple[str, ...] = ()
        if current in installed:
            needed = [*store.in_use(), *release_switch.note(store.noted()).values()]
            plan = release_install.plan(current, True, current, installed, needed, keep, store.previous())
            going = plan.prune
        if not module.check_mode:
            for release in going:
                store.remove(release)
            store.tidy()
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
    """Read the arguments, remove, answer."""
    module = AnsibleModule(
        argument_spec={"prefix": {"type": "path", "required": True}, "keep": {"type": "int", "default": 2}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
