#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_site
short_description: Install files of nginx's configuration after a test
version_added: 0.1.0
description:
  - Has nginx test a copy of its whole configuration with the new files, and installs them if the test passes.
  - Reloads nginx if its processes have not read the files yet. A reload closes no connection in use.
  - Starts and enables nginx if necessary.
  - If a run is interrupted between installation and reload, the next run reloads nginx.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Tests the new configuration if nginx is installed.
requirements:
  - nginx, 1.14 or newer, on the host
options:
  root:
    description: The directory of nginx's configuration.
    type: path
    default: /etc/nginx
  files:
    description: Contents of each file, by its path below O(root).
    type: dict
    required: true
  watch:
    description: Other files that nginx reads, such as certificates. nginx is reloaded if one is newer.
    type: list
    elements: path
    default: []
  unit:
    description: nginx's unit.
    type: str
    default: nginx.service
"""

EXAMPLES = r"""
- name: Install the gateway's nginx configuration
  herd.inference.nginx_site:
    files:
      conf.d/herd.conf: "{{ lookup('ansible.builtin.template', 'herd.conf.j2') }}"
"""

RETURN = r"""
action:
  description: The action on nginx, V(none), V(start) or V(reload).
  returned: always
  type: str
  sample: reload
"""

from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.gateway import nginx


def planned_action(params: dict[str, Any], state: systemd.UnitState, stale: list[str]) -> str:
    """Return V(start), V(reload) or V(none), by the state of nginx and the age of its configuration."""
    if state.active_state not in ("active", "reloading"):
        return "start"
    read = [*(Path(params["root"]) / name for name in params["files"]), *map(Path, params["watch"])]
    return "reload" if stale or nginx.is_newer(read, nginx.read_at(state.pid)) else "none"


def result(module: HerdModule) -> dict[str, Any]:
    """Write the files that differ, start or reload nginx, and return the module's result."""
    params = module.params
    root, unit = Path(params["root"]), params["unit"]
    wanted: dict[str, str] = params["files"]
    before = {name: files.read_text(root / name) for name in wanted}
    stale = [name for name in wanted if before[name] != wanted[name]]
    # In check mode on a new host, nginx is not installed yet.
    if stale and (root / "nginx.conf").exists():
        nginx.test(root, wanted)
    state = systemd.show(unit)
    action = planned_action(params, state, stale)
    if not module.check_mode:
        for name in stale:
            files.atomic_write(root / name, wanted[name], 0o644)
        if not state.enabled:
            systemd.enable(unit)
        if action != "none":
            systemd.start(unit) if action == "start" else systemd.reload_unit(unit)
    diff = [file_diff(root / name, before[name], wanted[name]) for name in stale]
    changes_unit = action != "none" or not state.enabled
    if changes_unit:
        is_on = "enabled" if state.enabled else "not enabled"
        diff.append({"before": f"{unit}: {state.active_state}, {is_on}\n", "after": f"{unit}: enabled, {action}\n"})
    return {"changed": bool(stale) or changes_unit, "action": action, "diff": diff}


def main() -> None:
    run_module(
        result,
        root={"type": "path", "default": "/etc/nginx"},
        files={"type": "dict", "required": True},
        watch={"type": "list", "elements": "path", "default": []},
        unit={"type": "str", "default": "nginx.service"},
    )


if __name__ == "__main__":
    main()
