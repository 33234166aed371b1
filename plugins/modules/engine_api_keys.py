#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the API keys of the head in a file that only the service reads."""

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
  sample: false
  version_added: 0.1.0
"""

import os
import secrets
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_keys
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import files

_MODE = 0o640


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "keys": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "rotate": {"type": "str", "choices": list(api_keys.STEPS), "default": "none"},
            "group": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        existing = path.read_text(encoding="utf-8") if path.exists() else ""
        step = module.params["rotate"]
        wanted = api_keys.content(existing, module.params["keys"], step, lambda: secrets.token_urlsafe(32))
        gid = files.required_group_id(module.params["group"], module.check_mode)
        did = {"begin": "put the spare key first", "finish": "take the former key out"}.get(step, "add a second key")
        actions = ["write given keys" if module.params["keys"] else did if existing.strip() else "generate a key"]
        if wanted == existing:
            actions = []
        status = path.stat() if path.exists() else None
        if status and (status.st_mode & 0o777 != _MODE or status.st_gid != gid or status.st_uid != 0):
            actions.append("set owner, group and mode")
        if actions and not module.check_mode:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.chown(path.parent, 0, gid)
            path.parent.chmod(0o750)
            # Readable by root alone until the group is right, then put in place in one step.
            files.atomic_write(path, wanted, _MODE, gid)
    except HerdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"expected to write {path}, found {error.strerror}: mend its directory.")
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)} if actions else {}
    module.exit_json(
        changed=bool(actions),
        fingerprint=api_keys.fingerprint(wanted),
        rotating=not module.params["keys"] and api_keys.is_rotating(wanted.split()),
        diff=diff,
    )


if __name__ == "__main__":
    main()
