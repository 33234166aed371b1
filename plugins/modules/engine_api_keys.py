#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_api_keys
short_description: Manage the API keys of an engine in a file on the host
version_added: 0.1.0
description:
  - Writes one key per line. Without O(keys), an existing file is kept, and a new file gets a key of 256 random bits
    that never leaves the host. Results and differences never show a key.
  - A generated key is followed by a spare key, which stays unknown until O(rotate) puts it first. A single key of
    O(keys) is followed by one that begins with C(unused-), because the engine logs the end of a single key.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    details: Names the actions and never shows a key.
options:
  path:
    description: The file. A missing directory is created.
    type: path
    required: true
  keys:
    description: Keys to write, from a vault. Without any, the module generates a key once.
    type: list
    elements: str
    default: []
  rotate:
    description:
      - V(begin) puts the spare key first and keeps the former key behind it. The running engine accepts the spare
        already, so clients can change to it at once.
      - V(finish) removes the former key and adds a new spare, which the engine accepts after a restart.
      - Both steps are idempotent. With O(keys), this option has no effect.
    type: str
    choices: [none, begin, finish]
    default: none
  group:
    description: Group that can read the file and enter its directory. The owner is root.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Create an API key
  herd.inference.engine_api_keys:
    path: /etc/herd/head/api-keys
    group: llama

- name: Begin to rotate the API key
  herd.inference.engine_api_keys:
    path: /etc/herd/head/api-keys
    group: llama
    rotate: begin
"""

RETURN = r"""
fingerprint:
  description: First digits of a hash of the set of keys. It changes when the engine must be restarted.
  returned: always
  type: str
  sample: 9b74c9897bac770f
rotating:
  description: Whether a former key is still accepted.
  returned: always
  type: bool
"""

import secrets
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_keys
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files


def result(module: HerdModule) -> dict[str, Any]:
    """Write the keys if they differ, and return the module's result."""
    path, given, step = Path(module.params["path"]), module.params["keys"], module.params["rotate"]
    existing = files.read_text(path)
    wanted = api_keys.content(existing, given, step, lambda: secrets.token_urlsafe(32))
    gid = files.required_group_id(module.params["group"], module.check_mode)
    did = {"begin": "put the spare key first", "finish": "take the former key out"}.get(step, "add a second key")
    actions = ["write given keys" if given else did if existing.strip() else "generate a key"]
    if wanted == existing:
        actions = []
    if path.exists() and not files.has_owner(path, files.SECRET_MODE, gid):
        actions.append("set owner, group and mode")
    if actions and not module.check_mode:
        files.write_secret(path, wanted, gid)
    return {
        "changed": bool(actions),
        "fingerprint": api_keys.fingerprint(wanted),
        "rotating": not given and api_keys.is_rotating(wanted.split()),
        "diff": {"before": "", "after": "".join(f"{action}\n" for action in actions)} if actions else {},
    }


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        keys={"type": "list", "elements": "str", "default": [], "no_log": True},
        rotate={"type": "str", "choices": list(api_keys.STEPS), "default": "none"},
        group={"type": "str", "required": True},
    )


if __name__ == "__main__":
    main()
