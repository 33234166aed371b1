#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep files of nginx's configuration, and have nginx read them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_site
short_description: Put files into nginx's configuration, tried before they are there
version_added: 0.2.0
description:
  - Has nginx read a copy of its whole configuration with the new files in it, puts them in place if nginx takes them,
    and reloads nginx where its processes have not read them yet. A reload cuts no connection.
  - nginx is started and enabled where it is not.
  - A run that was killed between the files and the reload is noticed by the next one.
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
    description: Contents of every file, by its path below O(root).
    type: dict
    required: true
  tiers:
    description:
      - Tiers that O(files) take requests to. Where C(herd/upstreams.conf), which the service herd-upstreams
        keeps, lacks one of them, it is written without an engine for that tier.
    type: list
    elements: str
    default: []
  watch:
    description: Further files that nginx reads, such as certificates; nginx is reloaded where one is newer.
    type: list
    elements: path
    default: []
  unit:
    description: nginx's unit.
    type: str
    default: nginx.service
"""

EXAMPLES = r"""
- name: Have nginx take requests to the tiers
  herd.inference.nginx_site:
    files:
      conf.d/herd.conf: "{{ lookup('ansible.builtin.template', 'herd.conf.j2') }}"
    tiers: [fast, reasoning]
"""

RETURN = r"""
action:
  description: What nginx needed, V(none), V(start) or V(reload).
  returned: always
  type: str
  sample: reload
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import nginx_upstreams
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.gateway import nginx

UPSTREAMS = "herd/upstreams.conf"
CLIENTS = "herd/clients.conf"
KEY = "herd/engine-key.conf"


def text_of(path: Path) -> str:
    """Give a file's text, or nothing."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def kept_elsewhere(root: Path, tiers: list[str]) -> dict[str, str]:
    """Give what the service herd-upstreams writes, as far as nginx cannot do without it."""
    known = nginx_upstreams.known_endpoints(text_of(root / UPSTREAMS))
    missing: dict[str, str] = {}
    if set(tiers) - set(known):
        missing[UPSTREAMS] = nginx_upstreams.configuration({name: known.get(name, "") for name in tiers})
    if tiers and not (root / CLIENTS).exists():
        missing[CLIENTS] = nginx_upstreams.clients_configuration("")
    if tiers and not (root / KEY).exists():
        missing[KEY] = "# Written by herd-upstreams as soon as there is a key.\n"
    return missing


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/etc/nginx"},
            "files": {"type": "dict", "required": True},
            "tiers": {"type": "list", "elements": "str", "default": []},
            "watch": {"type": "list", "elements": "path", "default": []},
            "unit": {"type": "str", "default": "nginx.service"},
        },
        supports_check_mode=True,
    )
    root, unit = Path(module.params["root"]), module.params["unit"]
    try:
        wanted = {**module.params["files"], **kept_elsewhere(root, module.params["tiers"])}
        before = {name: text_of(root / name) for name in wanted}
        stale = [name for name in wanted if before[name] != wanted[name]]
        # On a bare host in check mode there is no nginx yet.
        if stale and (root / "nginx.conf").exists():
            nginx.test(root, wanted)
        state = systemd.show(unit)
        is_running = state.active_state in ("active", "reloading")
        read = [root / name for name in module.params["files"]] + [Path(path) for path in module.params["watch"]]
        action = "none" if is_running else "start"
        if is_running and (stale or nginx.is_newer(read, nginx.read_at(state.pid))):
            action = "reload"
        if not module.check_mode:
            for name in stale:
                files.atomic_write(root / name, wanted[name], 0o600 if name == KEY else 0o644)
            if not state.enabled:
                systemd.enable(unit)
            if action != "none":
                systemd.start(unit) if action == "start" else systemd.reload_unit(unit)
    except HerdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"expected to write below {root}, found {error}: free space or mend its permissions.")
    diff = [
        {"before_header": f"{root}/{n}", "after_header": f"{root}/{n}", "before": before[n], "after": wanted[n]}
        for n in stale
    ]
    if action != "none" or not state.enabled:
        is_on = "enabled" if state.enabled else "not enabled"
        diff.append({"before": f"{unit}: {state.active_state}, {is_on}\n", "after": f"{unit}: enabled, {action}\n"})
    module.exit_json(changed=bool(stale) or action != "none" or not state.enabled, action=action, diff=diff)


if __name__ == "__main__":
    main()
