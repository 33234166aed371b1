#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_unit
short_description: Write a systemd unit and restart its service if it changed
version_added: 0.1.0
description:
  - Lets systemd check the unit, writes it with its other files, enables it, and starts the service, or restarts it if
    it runs with another text.
  - The environment variable C(HERD_UNIT) of the running process has the digest of the text that it was started with. So
    the next run completes a run that was killed between writing and restarting.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  name:
    description: Name of the unit with its suffix.
    type: str
    required: true
  content:
    description: Text of the unit. C(@HERD_UNIT@) in it is replaced by the digest.
    type: str
    required: true
  files:
    description: Other files of the service by absolute path. A change of one restarts the service.
    type: dict
    default: {}
  triggers:
    description: Values whose change restarts the service.
    type: list
    elements: str
    default: []
  enabled:
    description: Whether the service starts at boot.
    type: bool
    default: true
  restart_reason:
    description: Reason to restart an unchanged service. If empty, there is none.
    type: str
    default: ''
  stop_timeout:
    description:
      - Time limit in seconds for a service that serves its last connections after a stop. After it the module fails and
        starts nothing.
      - With V(0) the module waits for systemd's job.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: Run the RPC worker
  herd.inference.service_unit:
    name: llama-rpc.service
    content: "{{ lookup('ansible.builtin.template', 'llama-rpc.service.j2') }}"
"""

RETURN = r"""
action:
  description: Action on the service (V(none), V(start) or V(restart)).
  returned: always
  type: str
  sample: restart
reason:
  description: Reason of the action.
  returned: always
  type: str
  sample: it runs with an older unit
"""

import hashlib
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes


def digest(content: str, others: dict[str, str], triggers: list[str]) -> str:
    """Return a digest of the unit, its other files and the triggers."""
    parts = [content, *(f"{path}\0{others[path]}" for path in sorted(others)), *triggers]
    return hashlib.sha256("\0\0".join(parts).encode()).hexdigest()[:16]


def next_action(
    state: systemd.UnitState, runs_with: str, wanted: str, restart_reason: str, is_edited: bool = False
) -> tuple[str, str]:
    """Return the action that the service needs, and its reason.

    :param is_edited: whether the unit's file was changed by hand. The process may run with that text, and have the
        digest of the former one.
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


def write(name: str, texts: dict[str, str], stale: list[str], needs_reload: bool) -> None:
    """Write the files that differ, once systemd accepts the unit, and reload the unit files."""
    if stale:
        systemd.verify(name, texts[str(systemd.UNIT_DIRECTORY / name)])
    for path in stale:
        files.atomic_write(Path(path), texts[path])
    if stale or needs_reload:
        systemd.reload()


def act(name: str, action: str, timeout_s: float) -> None:
    """Start or restart the service."""
    if action == "start":
        systemd.start(name)
    elif action == "restart" and timeout_s:
        systemd.restart_within(name, timeout_s)
    elif action == "restart":
        systemd.restart(name)


def result(module: HerdModule) -> dict[str, Any]:
    """Write the unit, bring the service to it, and return the module's result."""
    given = module.params
    name, timeout_s, enabled = given["name"], given["stop_timeout"], given["enabled"]
    wanted = digest(given["content"], given["files"], given["triggers"])
    unit = str(systemd.UNIT_DIRECTORY / name)
    texts = {unit: given["content"].replace("@HERD_UNIT@", wanted), **given["files"]}
    state = systemd.settle(name, timeout_s) if timeout_s and not module.check_mode else systemd.show(name)
    runs_with = processes.environment_of(state.pid).get("HERD_UNIT", "") if state.pid else ""
    before = {path: files.read_text(Path(path)) for path in texts}
    stale = [path for path in texts if before[path] != texts[path]]
    is_edited = unit in stale and before[unit] != ""
    action, reason = next_action(state, runs_with, wanted, given["restart_reason"], is_edited)
    if not module.check_mode:
        write(name, texts, stale, state.needs_reload)
        if state.enabled != enabled:
            systemd.enable(name) if enabled else systemd.disable(name)
        act(name, action, timeout_s)
    diff = [file_diff(path, before[path], texts[path]) for path in stale]
    if action != "none" or state.enabled != enabled:
        was = f"{name}: {state.active_state}, {'enabled' if state.enabled else 'not enabled'}\n"
        now = f"{name}: active, {'enabled' if enabled else 'not enabled'} ({reason or 'no restart'})\n"
        diff.append({"before": was, "after": now})
    return {"changed": bool(diff), "action": action, "reason": reason, "diff": diff}


def main() -> None:
    run_module(
        result,
        name={"type": "str", "required": True},
        content={"type": "str", "required": True},
        files={"type": "dict", "default": {}},
        triggers={"type": "list", "elements": "str", "default": []},
        enabled={"type": "bool", "default": True},
        restart_reason={"type": "str", "default": ""},
        stop_timeout={"type": "float", "default": 0},
    )


if __name__ == "__main__":
    main()
