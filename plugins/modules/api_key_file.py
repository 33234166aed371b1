#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the API keys of the head in a file that only the service reads."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_key_file
short_description: Write given API keys, or generate one once, on the host itself
version_added: 0.1.0
description:
  - Writes one key a line. Without O(keys) an existing file is left as it is, and a missing one gets a key of
    256 random bits that never leaves the host. No key is ever part of a result or of a difference.
author: herd.inference contributors (@herd-inference)
options:
  path:
    description: The file. Its directory is made if it is missing.
    type: path
    required: true
  keys:
    description: Keys to write, from a vault. Empty generates one, once.
    type: list
    elements: str
    default: []
  group:
    description: Group that may read the file and enter its directory; the owner is root.
    type: str
    required: true
attributes:
  check_mode:
    description: Compares contents, group and mode.
    support: full
  diff_mode:
    description: Says only what would happen, never a key.
    support: full
"""

EXAMPLES = r"""
- name: Have an API key
  herd.inference.api_key_file:
    path: /etc/herd/head/api-keys
    group: llama
"""

RETURN = r"""
fingerprint:
  description: First digits of a hash over the file, to notice a change; V(new) in check mode before there is one.
  returned: always
  type: str
  sample: 9b74c9897bac770f
"""

import grp
import hashlib
import os
import secrets
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd

_MODE = 0o640


def content_for(existing: str, keys: list[str]) -> str:
    """Decide what the file must hold; an empty result asks for a new key."""
    if any(not key.strip() or any(c.isspace() for c in key) or key.startswith("#") for key in keys):
        raise InvalidInputError(
            "API keys without blanks, and none that begins with #", "another kind", "correct head_server_api_keys"
        )
    if keys:
        return "".join(f"{key}\n" for key in keys)
    return existing if existing.strip() else ""


def group_id(name: str, is_check: bool) -> int:
    """Find the group; on a bare host it only comes with the other roles."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if is_check:
            return -1
        raise InvalidInputError(f"the group {name}", "none of that name", "run the role node first") from None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "keys": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "group": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        existing = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = content_for(existing, module.params["keys"])
        gid = group_id(module.params["group"], module.check_mode)
        actions = ["write given keys" if module.params["keys"] else "generate a key"] if wanted != existing else []
        if not wanted:
            actions = ["generate a key"]
        status = path.stat() if path.exists() else None
        if status and (status.st_mode & 0o777 != _MODE or status.st_gid != gid or status.st_uid != 0):
            actions.append("set owner, group and mode")
        if actions and not module.check_mode:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.chown(path.parent, 0, gid)
            path.parent.chmod(0o750)
            wanted = wanted or secrets.token_urlsafe(32) + "\n"
            # Readable by root alone until the group is right, then put in place in one step.
            systemd.write_file(path, wanted, _MODE, gid)
    except HerdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"expected to write {path}, found {error.strerror}: mend its directory.")
    fingerprint = hashlib.sha256(wanted.encode()).hexdigest()[:16] if wanted else "new"
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)} if actions else {}
    module.exit_json(changed=bool(actions), fingerprint=fingerprint, diff=diff)


if __name__ == "__main__":
    main()
