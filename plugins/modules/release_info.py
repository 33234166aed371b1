#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Read the installed releases of a host, and check them
version_added: 0.1.0
description:
  - Reads the installed releases, the link C(current), and the finished builds under a prefix.
  - Returns the running programs of each release, the advisories of these releases, and problems such as processes of
    different releases.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  prefix:
    description: Folder that holds C(releases/), C(current) and, on the build host, C(dist/).
    type: path
    required: true
  release:
    description: Release of the catalogue whose newest build to return as RV(built).
    type: str
    default: ""
  verify:
    description: Whether to compare each file of each installed release with its manifest.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read and verify the installed releases
  herd.inference.release_info:
    prefix: /opt/llama.cpp
    verify: true
  register: releases
"""

RETURN = r"""
current:
  description: Id of the release to which C(current) points, or empty.
  returned: success
  type: str
  sample: 0c1e57098-cpu-5f1c20ab
previous:
  description: Id of the release that was current before, or empty if it is not installed.
  returned: success
  type: str
  sample: b7836-cpu-11aa22bb
changing:
  description:
    - Record of an unfinished switch, as written by M(herd.inference.release_switch). C(back) is the release of a
      rollback. Empty unless a switch is running or was killed.
  returned: success
  type: dict
releases:
  description: Installed releases, oldest first.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 0c1e57098-cpu-5f1c20ab
      release: 0c1e57098
      commit: 0c1e57098bba43ac29e6e3b677cdceebdd22334f
      backend: cpu
      rpc_protocol: 7.0.0
      advisories: []
      size_bytes: 96837632
      in_use: true
      whole: true
      problems: []
running:
  description: Running programs of these releases. C(unit) is empty for a program that no unit started.
  returned: success
  type: list
  elements: dict
  sample:
    - {release: 0c1e57098-cpu-5f1c20ab, pid: 4711, name: ggml-rpc-server, unit: llama-rpc.service}
advisories:
  description: Known vulnerabilities of the current release and of running releases.
  returned: success
  type: list
  elements: dict
  sample:
    - id: CVE-2026-34159
      means: unauthenticated code execution for anyone who reaches the RPC worker's port
      fixed: 2026-03, b8492
      releases: [b7836-cpu-11aa22bb]
problems:
  description: The problems, one sentence each.
  returned: success
  type: list
  elements: str
serving:
  description: Whether this host serves its builds to other nodes, which it does only during an installation.
  returned: success
  type: bool
built:
  description: Manifest of the newest build of O(release) on this host, or empty.
  returned: success
  type: dict
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.core.release import status as release_status
from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_switch
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore

SERVER = "herd-share.service"


def describe(store: ReleaseStore, release: str, in_use: list[str], verify: bool) -> dict[str, Any]:
    """Describe one installed release."""
    manifest = store.manifest(release)
    problems = store.problems(manifest) if manifest is not None and verify else []
    if manifest is None:
        problems, manifest = ["manifest.json is missing or damaged"], {}
    return {
        "id": release,
        **{name: manifest.get(name, "") for name in ("release", "commit", "backend", "rpc_protocol")},
        "size_bytes": sum(int(facts.get("size", 0)) for facts in manifest.get("files", {}).values()),
        "advisories": [advisory["id"] for advisory in manifest.get("advisories", [])],
        "in_use": release in in_use,
        "whole": not problems if verify or problems else None,
        "problems": problems,
    }


def programs(store: ReleaseStore) -> list[release_status.RunningProgram]:
    """List the running programs of the releases with their units."""
    return [
        release_status.RunningProgram(release, pid, name, release_status.unit_of(processes.control_group_of(pid)))
        for release, pid, name in store.running_programs()
    ]


def result(module: HerdModule) -> dict[str, Any]:
    """Return the module's result."""
    store, wanted = ReleaseStore(Path(module.params["prefix"])), module.params["release"]
    running, current = programs(store), store.current() or ""
    changing = release_switch.read_record(store.pending_switch())
    manifests = {name: store.manifest(name) for name in release_install.release_ids(store.installed())}
    in_use = sorted({program.release for program in running})
    known = [manifest for manifest in manifests.values() if manifest is not None]
    return {
        "current": current,
        "previous": store.previous() or "",
        "changing": changing,
        "releases": [describe(store, name, store.in_use(), module.params["verify"]) for name in manifests],
        "running": [asdict(program) for program in running],
        "advisories": release_status.advisories(known, [current, *in_use]),
        "problems": release_status.problems(current, manifests, running, len(store.leftovers()), changing),
        "serving": systemd.show(SERVER).active_state not in ("inactive", "failed"),
        "built": (files.read_json(store.prefix / "dist" / f"{wanted}.json") or {}) if wanted else {},
    }


def main() -> None:
    run_module(
        result,
        prefix={"type": "path", "required": True},
        release={"type": "str", "default": ""},
        verify={"type": "bool", "default": False},
    )


if __name__ == "__main__":
    main()
