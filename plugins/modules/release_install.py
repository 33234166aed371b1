#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_install
short_description: Install a build of the engine on a node, and make it the current release
version_added: 0.1.0
description:
  - Downloads the tarball, verifies its checksum, unpacks it under a hidden name, verifies each file, renames the folder
    and verifies it again. Then points C(current) to it in one step, and removes old releases.
  - Verifies each file of an installed release on each run.
  - Runs once at a time on a node, and removes what a killed installation left.
  - Never removes a release to which C(previous) or a unit of systemd points, or from which a program runs.
  - Fails before the download if the node's NVIDIA driver is too old for the build.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Verifies the installed files.
requirements:
  - Python library requests, for a O(location) with a URL
options:
  manifest:
    description:
      - Manifest of the build with its C(tarball), as returned by M(herd.inference.llama_build) and
        M(herd.inference.release_info). May be empty in check mode before the first build.
      - Must come from a trusted channel. The tarball need not, since the manifest has its checksum.
    type: dict
    required: true
  location:
    description: Path of the tarball on this host, or its URL (http).
    type: str
    required: true
  prefix:
    description: Folder that holds C(releases/) and C(current).
    type: path
    required: true
  keep:
    description: Number of other releases to keep. The former release is always kept.
    type: int
    default: 2
  switch:
    description: Whether to point C(current) to the release. If not, M(herd.inference.release_switch) does so later.
    type: bool
    default: true
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
  description: Id of the build.
  returned: success
  type: str
  sample: 0c1e57098-cuda70-5f1c20ab
path:
  description: Folder of the build.
  returned: success
  type: str
  sample: /opt/llama.cpp/releases/0c1e57098-cuda70-5f1c20ab
needed:
  description: Copy of C(changed) that C(changed_when) does not hide.
  returned: success
  type: bool
fetch:
  description: Whether the tarball was needed, or would be needed.
  returned: success
  type: bool
problems:
  description: Differences between the installed build and its manifest.
  returned: success
  type: list
  elements: str
  sample: ["bin/llama-server differs"]
removed:
  description: Releases that were removed, or would be removed.
  returned: success
  type: list
  elements: str
  sample: ["b7836-cuda70-11aa22bb"]
driver_note:
  description: Restriction of this node's driver with the build; usually empty.
  returned: success
  type: str
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.release import build_tree
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore

DRIVER = Path("/proc/driver/nvidia/version")


def lines(current: str | None, releases: list[str], leftovers: Sequence[Path] = ()) -> str:
    """Return the state of a node for a diff."""
    hidden = "".join(f"left by an interrupted installation: {path}\n" for path in leftovers)
    return f"current: {current or 'none'}\nreleases: {', '.join(sorted(releases)) or 'none'}\n{hidden}"


def not_built(prefix: str) -> dict[str, Any]:
    """Return the result of check mode before the first build."""
    store = ReleaseStore(Path(prefix))
    before = lines(store.current(), release_install.release_ids(store.installed()))
    return {
        "changed": True,
        "needed": True,
        "id": "",
        "path": "",
        "fetch": True,
        "problems": ["not built yet"],
        "removed": [],
        "driver_note": "",
        "diff": {"before": before, "after": f"{before}(and the release after its build)\n"},
    }


def apply(
    store: ReleaseStore, plan: release_install.InstallPlan, manifest: dict[str, Any], location: str, settles: bool
) -> None:
    """Take the steps of a plan, and end an unfinished switch if C(settles) is true."""
    if plan.fetch:
        store.install(manifest, location)
    if plan.link:
        store.switch(str(manifest["id"]))
    if settles:
        store.end_switch()
    for release in plan.prune:
        store.remove(release)
    store.remove_leftovers()


def result(module: HerdModule) -> dict[str, Any]:
    """Install if needed, and return the module's result."""
    manifest = module.params["manifest"]
    if not manifest and module.check_mode:
        return not_built(module.params["prefix"])
    release_install.check_manifest(manifest)
    driver = release_install.parse_driver(DRIVER.read_text(encoding="utf-8")) if DRIVER.exists() else None
    note = release_install.driver_note(manifest, driver) or ""
    release = str(manifest["id"])
    store = ReleaseStore(Path(module.params["prefix"]))
    with nullcontext() if module.check_mode else store.locked():
        leftovers = store.leftovers()
        problems = store.problems(manifest)
        current, installed = store.current(), release_install.release_ids(store.installed())
        plan = release_install.plan(
            release, not problems, current, installed, store.in_use(), module.params["keep"], store.previous()
        )
        if not module.params["switch"]:
            # The current release is the target of a rollback, so no release is removed yet.
            plan = release_install.InstallPlan(plan.fetch, link=False, prune=())
        # The inventory's release replaces the one of a killed upgrade or rollback.
        settles = module.params["switch"] and store.switch_record.exists()
        if not module.check_mode:
            store.remove_leftovers()
        if plan.fetch:
            build_tree.require_space(store.releases, release_install.space_mib(manifest), "for the release")
        if not module.check_mode:
            apply(store, plan, manifest, module.params["location"], settles)
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
    run_module(
        result,
        manifest={"type": "dict", "required": True},
        location={"type": "str", "required": True},
        prefix={"type": "path", "required": True},
        keep={"type": "int", "default": 2},
        switch={"type": "bool", "default": True},
    )


if __name__ == "__main__":
    main()
