#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one systemd service to what its unit says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_unit
short_description: Write a systemd unit and make the running service agree with it
version_added: 0.1.0
description:
  - Lets systemd check the unit, writes it together with the files that belong to it, enables it, and starts
    or restarts the service when what runs was not started from exactly this text.
  - The running process says by itself which text it was started from, through an environment variable
    C(HERD_UNIT). A run that was killed between writing and restarting is therefore made good by the next one.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  name:
    description: Name of the unit with its suffix.
    type: str
    required: true
  content:
    description: Text of the unit. It must hold the word C(@HERD_UNIT@) once, for the digest.
    type: str
    required: true
  files:
    description: Other files of the service by their absolute path; a change of one restarts it too.
    type: dict
    default: {}
  triggers:
    description: Values whose change restarts the service although no file changes.
    type: list
    elements: str
    default: []
  enabled:
    description: Whether the service starts at boot.
    type: bool
    default: true
  restart_reason:
    description: Restart the service although nothing changed, for this reason, when it is not empty.
    type: str
    default: ''
  stop_timeout:
    description:
      - How long, in seconds, to wait for the end of a service that goes on serving what it had begun when it was told
        to stop. If it takes longer, nothing is started, and the module fails.
      - With V(0) systemd is waited for, as long as its job takes.
    type: float
    default: 0
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Run the RPC worker
  herd.inference.service_unit:
    name: llama-rpc.service
    content: "{{ lookup('ansible.builtin.template', 'llama-rpc.service.j2') }}"
"""

RETURN = r"""
action:
  description: What was done to the service (V(none), V(start) or V(restart)).
  returned: always
  type: str
  sample: restart
reason:
  description: Why, in words.
  returned: always
  type: str
  sample: it runs with an older unit
"""

import hashlib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes


def digest(content: str, files: dict[str, str], triggers: list[str]) -> str:
    """Name everything that a running process depends on."""
    parts = [content, *(f"{path}\0{files[path]}" for path in sorted(files)), *triggers]
    return hashlib.sha256("\0\0".join(parts).encode()).hexdigest()[:16]


def next_action(
    state: systemd.UnitState, runs_with: str, wanted: str, restart_reason: str, is_edited: bool = False
) -> tuple[str, str]:
    """Decide what the service needs, and say why.

    :param is_edited: whether somebody has changed the unit's file. What runs may have been started from that, and
        bear the name of what was there before.
    """
    if state.active_state not in ("active", "activating", "reloading"):
        return "start", f"it is {state.active_state}"
    if state.pid and runs_with != wanted:
        return "restart", "it runs with an older unit"
    if state.pid and is_edited:
        return "restart", "its unit was changed by hand"
    if state.active_state == "activating" and not state.pid:
        return "restart", "it is between two attempts to start"
    if restart_reason:
        return "restart", restart_reason
    return "none", ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "files": {"type": "dict", "default": {}},
            "triggers": {"type": "list", "elements": "str", "default": []},
            "enabled": {"type": "bool", "default": True},
            "restart_reason": {"type": "str", "default": ""},
            "stop_timeout": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    name: str = module.params["name"]
    patience: float = module.params["stop_timeout"]
    others: dict[str, str] = module.params["files"]
    wanted = digest(module.params["content"], others, module.params["triggers"])
    text = module.params["content"].replace("@HERD_UNIT@", wanted)
    try:
        state = systemd.settle(name, patience) if patience and not module.check_mode else systemd.show(name)
        runs_with = processes.environment_of(state.pid).get("HERD_UNIT", "") if state.pid else ""
        unit = str(systemd.UNIT_DIRECTORY / name)
        paths = {unit: text, **others}
        before = {p: Path(p).read_text(encoding="utf-8") if Path(p).exists() else "" for p in paths}
        stale = [path for path in paths if before[path] != paths[path]]
        is_edited = unit in stale and before[unit] != ""
        action, reason = next_action(state, runs_with, wanted, module.params["restart_reason"], is_edited)
        is_enabled = state.enabled == module.params["enabled"]
        if not module.check_mode:
            if stale:
                systemd.verify(name, text)
                for path in stale:
                    files.atomic_write(Path(path), paths[path])
            if stale or state.needs_reload:
                systemd.reload()
            if not is_enabled:
                systemd.enable(name) if module.params["enabled"] else systemd.disable(name)
            if action == "restart":
                systemd.restart_within(name, patience) if patience else systemd.restart(name)
            elif action == "start":
                systemd.start(name)
    except HerdError as error:
        module.fail_json(msg=str(error))
    diff: list[dict[str, Any]] = [
        {"before_header": p, "after_header": p, "before": before[p], "after": paths[p]} for p in stale
    ]
    if action != "none" or not is_enabled:
        was = f"{name}: {state.active_state}, {'enabled' if state.enabled else 'not enabled'}\n"
        now = f"{name}: active, {'enabled' if module.params['enabled'] else 'not enabled'} ({reason or 'no restart'})\n"
        diff.append({"before": was, "after": now})
    module.exit_json(changed=bool(stale) or action != "none" or not is_enabled, action=action, reason=reason, diff=diff)


if __name__ == "__main__":
    main()
