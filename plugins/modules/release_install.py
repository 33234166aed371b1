#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release_install."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_install
short_description: Install one build of the engine on a node and make it the current one
version_added: 0.1.0
description:
  - Fetches the tarball, verifies its checksum, unpacks it out of sight, verifies every file, gives it its final name
    and verifies it again; then points C(current) to it in one step and removes surplus releases.
  - A release that is there already is held against its manifest on every run, file by file.
  - One at a time on a node; what an installation left that was killed is removed.
  - Releases that a running program was started from, that a unit of systemd names, or that C(previous) names are
    never removed.
  - A node whose NVIDIA driver is too old for the build is refused before anything is fetched.
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Verifies the installed files.
requirements:
  - requests, for a O(location) with an URL
options:
  manifest:
    description:
      - The build's manifest with its C(tarball); may be empty in check mode, if nothing is built yet.
      - The form is that in which M(herd.inference.llama_build) and M(herd.inference.release_info) return it.
      - It must have come over a channel that is trusted; the tarball need not.
    type: dict
    required: true
  location:
    description:
      - Path of the tarball on this host, or an URL (http) from which it is fetched.
    type: str
    required: true
  prefix:
    description:
      - Folder that holds C(releases/) and C(current).
    type: path
    required: true
  keep:
    description:
      - How many releases besides the wanted one stay installed. The one that is or was current before stays anyway.
    type: int
    default: 2
  switch:
    description:
      - Whether it becomes C(current). Without, it only lies ready, for M(herd.inference.release_switch).
    type: bool
    default: true
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Install the build on this node
  herd.inference.release_install:
    manifest: "{{ built.manifest }}"
    location: "http://10.100.0.31:50060/{{ built.manifest.tarball.name }}"
    prefix: /opt/llama.cpp
"""

RETURN = r"""
id:
  description: Name of the build.
  returned: success
  type: str
  sample: 0c1e57098-cuda70-5f1c20ab
path:
  description: Folder of the build.
  returned: success
  type: str
  sample: /opt/llama.cpp/releases/0c1e57098-cuda70-5f1c20ab
needed:
  description: Whether anything was to be done, or is; a copy of C(changed) that C(changed_when) does not hide.
  returned: success
  type: bool
  sample: true
fetch:
  description: Whether the tarball was needed, or would be.
  returned: success
  type: bool
  sample: false
problems:
  description: What differed between the installed build and its manifest.
  returned: success
  type: list
  elements: str
  sample: ["bin/llama-server differs"]
removed:
  description: Releases that were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: ["b7836-cuda70-11aa22bb"]
driver_note:
  description: What is to be known about this node's driver and the build; empty as a rule.
  returned: success
  type: str
  sample: ""
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.ports.release import build_tree
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore

DRIVER = Path("/proc/driver/nvidia/version")


def lines(current: str | None, releases: list[str], leftovers: Sequence[Path] = ()) -> str:
    """The state of a node for a diff."""
    hidden = "".join(f"left by an interrupted installation: {path}\n" for path in leftovers)
    return f"current: {current or 'none'}\nreleases: {', '.join(sorted(releases)) or 'none'}\n{hidden}"


def not_built(prefix: str) -> dict[str, Any]:
    """What can be said before the first build: all of it is still to come."""
    store = ReleaseStore(Path(prefix))
    before = lines(store.current(), release_install.ours(store.installed()))
    return {
        "changed": True,
        "needed": True,
        "id": "",
        "path": "",
        "fetch": True,
        "problems": ["not built yet"],
        "removed": [],
        "driver_note": "",
        "diff": {"before": before, "after": f"{before}(and the release, when it is built)\n"},
    }


def result(module: AnsibleModule) -> dict[str, Any]:
    """Plan, install if needed, and say what there is."""
    manifest = module.params["manifest"]
    if not manifest and module.check_mode:
        return not_built(module.params["prefix"])
    release_install.check_manifest(manifest)
    driver = release_install.parse_driver(DRIVER.read_text(encoding="utf-8")) if DRIVER.exists() else None
    note = release_install.driver_note(manifest, driver) or ""
    release = str(manifest["id"])
    store = ReleaseStore(Path(module.params["prefix"]))
    with nullcontext() if module.check_mode else store.alone():
        leftovers = store.leftovers()
        problems = store.problems(manifest)
        current, installed = store.current(), release_install.ours(store.installed())
        plan = release_install.plan(
            release, not problems, current, installed, store.in_use(), module.params["keep"], store.previous()
        )
        if not module.params["switch"]:
            # What is current is what it goes back to, so nothing is taken away yet.
            plan = release_install.InstallPlan(plan.fetch, link=False, prune=())
        # An upgrade or a rollback that was killed is settled by this: the node gets what the inventory names.
        settles = module.params["switch"] and store.note.exists()
        if not module.check_mode:
            store.tidy()
        if plan.fetch:
            build_tree.require_space(store.releases, release_install.space_mib(manifest), "for the release")
        if not module.check_mode:
            if plan.fetch:
                store.install(manifest, module.params["location"])
            if plan.link:
                store.switch(release)
            if settles:
                store.end()
            for surplus in plan.prune:
                store.remove(surplus)
            store.tidy()
    after = sorted(({*installed} | {release}) - {*plan.prune})
    changes = plan.changes or settles or bool(leftovers)
    points_to = current if not module.params["switch"] else release
    return {
        "changed": changes,
        "needed": changes,
        "id": release,
        "path": str(store.releases / release),
        "fetch": plan.fetch,
        "problems": problems,
        "removed": list(plan.prune),
        "driver_note": note,
        "diff": {
            "before": lines(current, installed, leftovers) + ("an interrupted change of release\n" if settles else ""),
            "after": lines(points_to, after),
        },
    }


def main() -> None:
    """Read the arguments, install, answer."""
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "dict", "required": True},
            "location": {"type": "str", "required": True},
            "prefix": {"type": "path", "required": True},
            "keep": {"type": "int", "default": 2},
            "switch": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
