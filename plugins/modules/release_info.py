#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Say which releases of the engine a host has, and whether they are whole
version_added: 0.1.0
description:
  - Reads the releases below a prefix, the link C(current), and the builds that are ready to be distributed.
author:
  - herd.inference contributors (@herd-inference)
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
options:
  prefix:
    description:
      - Folder that holds C(releases/), C(current) and, on the build host, C(dist/).
    type: path
    required: true
  release:
    description:
      - A release of the catalogue whose newest good build is wanted as C(built).
    type: str
    default: ""
  verify:
    description:
      - Hold every file of every installed release against its manifest.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See what is installed and whether it is whole
  herd.inference.release_info:
    prefix: /opt/llama.cpp
    verify: true
"""

RETURN = r"""
current:
  description: Id of the release that C(current) names; empty if there is none.
  returned: success
  type: str
  sample: 0c1e57098-cpu-5f1c20ab
previous:
  description: Id of the release that was current before; empty if there is none or it is not installed any more.
  returned: success
  type: str
  sample: b7836-cpu-11aa22bb
releases:
  description: Installed releases, oldest first.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 0c1e57098-cpu-5f1c20ab
      release: 0c1e57098
      rpc_protocol: 7.0.0
      advisories: []
      in_use: true
      whole: true
      problems: []
serving:
  description:
    - Whether this host gives its builds to other nodes at this moment, which it does only during an installation.
  returned: success
  type: bool
  sample: false
built:
  description: Manifest of the wanted release's newest good build on this host; empty if there is none.
  returned: success
  type: dict
  sample: {}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import release_files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.release_store import ReleaseStore

SERVER = "herd-share.service"


def describe(store: ReleaseStore, release: str, in_use: list[str], verify: bool) -> dict[str, Any]:
    """One installed release."""
    manifest = store.manifest(release)
    problems: list[str] = []
    if manifest is None:
        problems = ["manifest.json is missing or damaged"]
    elif verify:
        problems = store.problems(manifest)
    return {
        "id": release,
        "release": (manifest or {}).get("release", ""),
        "rpc_protocol": (manifest or {}).get("rpc_protocol", ""),
        "advisories": [advisory["id"] for advisory in (manifest or {}).get("advisories", [])],
        "in_use": release in in_use,
        "whole": not problems if verify or problems else None,
        "problems": problems,
    }


def main() -> None:
    """Read the arguments, look, answer."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "release": {"type": "str", "default": ""},
            "verify": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    prefix, wanted = Path(module.params["prefix"]), module.params["release"]
    store = ReleaseStore(prefix)
    try:
        in_use = store.in_use()
        module.exit_json(
            changed=False,
            current=store.current() or "",
            previous=store.previous() or "",
            releases=[describe(store, name, in_use, module.params["verify"]) for name in store.installed()],
            serving=systemd.show(SERVER).active_state not in ("inactive", "failed"),
            built=(release_files.read_json(prefix / "dist" / f"{wanted}.json") or {}) if wanted else {},
        )
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
