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
  - An only key is followed by one that begins with C(unused-) and that nobody is given, because the engine would
    write the end of an only key into its log.
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
  description: First digits of a hash over the file, to notice a change.
  returned: always
  type: str
  sample: 9b74c9897bac770f
"""

import grp
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd

_MODE = 0o640
_COMPANY = "unused-"


def content_for(existing: str, keys: list[str], fresh: Callable[[], str]) -> str:
    """Decide what the file must hold: the given keys, those that are there, or a new one.

    The engine writes the last four characters of an only key into its log, and of several keys their number.
    So an only key gets company, by a key that nobody is given.
    """
    if any(not key.strip() or any(c.isspace() for c in key) or key.startswith(("#", _COMPANY)) for key in keys):
        raise InvalidInputError(
            f"API keys without blanks, and none that begins with # or {_COMPANY}",
            "another kind",
            "correct head_server_api_keys",
        )
    held = existing.split()
    wanted = keys or [key for key in held if not key.startswith(_COMPANY)] or [fresh()]
    if len(wanted) == 1:
        company = [key for key in held if key.startswith(_COMPANY)]
        wanted = [*wanted, *(company[:1] or [_COMPANY + fresh()])]
    return "".join(f"{key}\n" for key in wanted)


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
        wanted = content_for(existing, module.params["keys"], lambda: secrets.token_urlsafe(32))
        gid = group_id(module.params["group"], module.check_mode)
        given_or_new = "write given keys" if module.params["keys"] else "generate a key"
        actions = [given_or_new if not existing.strip() or module.params["keys"] else "add a second key"]
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
            systemd.write_file(path, wanted, _MODE, gid)
    except HerdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"expected to write {path}, found {error.strerror}: mend its directory.")
    fingerprint = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)} if actions else {}
    module.exit_json(changed=bool(actions), fingerprint=fingerprint, diff=diff)


if __name__ == "__main__":
    main()
