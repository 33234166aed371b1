#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tailscale_serve
short_description: Serve local HTTP servers to the tailnet with tailscale serve
version_added: 0.1.0
description:
  - Configures C(tailscale serve) to proxy some paths to servers of this machine. Only paths that differ are set or
    removed. Other paths, which may belong to somebody else, stay.
  - The paths are for the tailnet only. If the port is open to the internet (Funnel), the module closes it.
  - tailscaled removes the path from a request, so the server sees the rest only.
  - Works with the command line of Tailscale 1.52 and newer.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  mounts:
    description:
      - By path (V(/), V(/reasoning/)), the URL of a server of this machine, such as V(http://127.0.0.1:8081).
      - With O(state=absent), a path with another URL belongs to somebody else, and stays.
    type: dict
    required: true
  https_port:
    description: HTTPS port in the tailnet.
    type: int
    default: 443
  exclusive:
    description: Whether to remove all other paths of that port.
    type: bool
    default: false
  state:
    description: Whether the paths are served.
    type: str
    choices: [present, absent]
    default: present
  program:
    description: Name or path of the tailscale command.
    type: str
    default: tailscale
"""

EXAMPLES = r"""
- name: Serve both tiers to the tailnet
  herd.inference.tailscale_serve:
    mounts:
      /: http://127.0.0.1:8080
      /reasoning/: http://127.0.0.1:8081
"""

RETURN = r"""
name:
  description: DNS name of this machine in its tailnet.
  returned: always
  type: str
  sample: slurm-ctl.tailc46cd0.ts.net
address:
  description: Its IPv4 address there; empty for none.
  returned: always
  type: str
  sample: 100.101.102.103
url:
  description: URL in the tailnet.
  returned: always
  type: str
  sample: https://slurm-ctl.tailc46cd0.ts.net/
commands:
  description: Commands that were run, or would be, without the program's name.
  returned: always
  type: list
  elements: list
  sample: [[serve, --bg, --yes, --https=443, --set-path=/, "http://127.0.0.1:8080"]]
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import tailscale as rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.gateway.tailscale import Tailscale


def reconcile(params: dict[str, Any], tailscale: Tailscale, check_mode: bool) -> dict[str, Any]:
    """Read the configuration, change it, and verify the result."""
    wanted = {str(path): str(target) for path, target in params["mounts"].items()}
    port, is_present = params["https_port"], params["state"] == "present"
    machine = rules.read_machine(tailscale.status())

    def planned() -> rules.Plan:
        served = rules.read_served(tailscale.served(), machine, port)
        return rules.plan(served, wanted, port, is_present, params["exclusive"])

    plan = planned()
    if plan.commands and not check_mode:
        for command in plan.commands:
            tailscale.run(command)
        left = planned().commands
        if left:
            raise MismatchError(
                "tailscaled to have the new configuration",
                f"a difference that needs: tailscale {' '.join(left[0])}",
                "look at: tailscale serve status",
            )
    return {
        "changed": bool(plan.commands),
        "diff": {"before": plan.before, "after": plan.after},
        "name": machine.name,
        "address": machine.address,
        "url": f"https://{machine.name}{'' if port == 443 else f':{port}'}/",
        "commands": [list(command) for command in plan.commands],
    }


def main() -> None:
    run_module(
        lambda module: reconcile(module.params, Tailscale(module.params["program"]), module.check_mode),
        mounts={"type": "dict", "required": True},
        https_port={"type": "int", "default": 443},
        exclusive={"type": "bool", "default": False},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
        program={"type": "str", "default": "tailscale"},
    )


if __name__ == "__main__":
    main()
