#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_keys
short_description: Write the gateway's user keys
version_added: 0.1.0
description:
  - Checks the entries and writes them for the gateway, which reads the file again when it changes. From then on, a key
    that is revoked or missing here is rejected.
  - The entries contain only hashes. C(herdctl key new) makes a key and its entry.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    details: Shows ids, users, limits, states and the first digits of hashes.
options:
  path:
    description: Path of the key file.
    type: path
    default: /etc/herd/gateway/keys.json
  keys:
    description: The keys.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Names the key in the log. A user may have several keys, each with its own id.
        type: str
        required: true
      sha256:
        description: SHA-256 of the key as 64 hexadecimal digits.
        type: str
        required: true
      user:
        description: The key's user; by default the id.
        type: str
      project:
        description: The project that its usage counts for; none by default. The gateway's metrics name projects.
        type: str
      limits:
        description: Its class of limits, one of O(limits).
        type: str
        default: default
      tiers:
        description: Tiers that it allows; all if empty.
        type: list
        elements: str
        default: []
      expires:
        description: UNIX time in seconds from which it is rejected.
        type: float
      state:
        description: V(revoked) keeps the entry, but the gateway rejects the key.
        type: str
        choices: [active, revoked]
        default: active
  limits:
    description: Names of all classes of limits.
    type: list
    elements: str
    default: [default]
  tiers:
    description: Names of all tiers.
    type: list
    elements: str
    required: true
  group:
    description: Group that may read the file; the owner is root.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Allow two keys, and revoke one
  herd.inference.gateway_keys:
    tiers: [fast, reasoning]
    group: herd-gateway
    keys:
      - id: ann
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      - id: bob-2026
        user: bob
        tiers: [fast]
        sha256: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
      - id: eve
        state: revoked
        sha256: fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13
"""

RETURN = r"""
active:
  description: Number of keys that are not revoked.
  returned: always
  type: int
"""

import json
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import user_keys
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files

ENTRY = {
    "id": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "user": {"type": "str"},
    "project": {"type": "str"},
    "limits": {"type": "str", "default": "default"},
    "tiers": {"type": "list", "elements": "str", "default": []},
    "expires": {"type": "float"},
    "state": {"type": "str", "choices": [user_keys.ACTIVE, user_keys.REVOKED], "default": "active"},
}


def result(module: HerdModule) -> dict[str, Any]:
    """Write the keys if they differ, and return the module's result."""
    path = Path(module.params["path"])
    for name in module.params["limits"]:
        user_keys.check_class(name)
    keys = user_keys.parse(module.params["keys"], module.params["limits"], module.params["tiers"])
    wanted = json.dumps(user_keys.as_data(keys), indent=2) + "\n"
    before = files.read_text(path)
    gid = files.required_group_id(module.params["group"], is_check=True)
    is_changed = before != wanted or not files.has_owner(path, files.SECRET_MODE, gid)
    if is_changed and not module.check_mode:
        files.write_secret(path, wanted, gid)
    diff = file_diff(path, user_keys.shortened(before), user_keys.shortened(wanted))
    active = sum(not key.revoked for key in keys)
    return {"changed": is_changed, "active": active, "diff": diff if is_changed else {}}


def main() -> None:
    run_module(
        result,
        path={"type": "path", "default": "/etc/herd/gateway/keys.json"},
        keys={"type": "list", "elements": "dict", "default": [], "options": ENTRY, "no_log": False},
        limits={"type": "list", "elements": "str", "default": ["default"]},
        tiers={"type": "list", "elements": "str", "required": True},
        group={"type": "str", "required": True},
    )


if __name__ == "__main__":
    main()
