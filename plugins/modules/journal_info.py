#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_info
short_description: Read the journals of a node's services in a window of time, without secrets
version_added: 0.1.0
description:
  - Returns the last lines of the journals of the collection's units on a node, and of nginx in front of the gateway.
  - Replaces the words of files that not all users can read, and everything that looks like a key, a token, a password
    or a private key.
  - Changes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    support: none
options:
  units:
    description:
      - Units to read, by the short names V(head), V(worker), V(router), V(agent), V(gateway), V(tiers), V(guard) and
        V(nginx), or by their names in systemd. If empty, all.
    type: list
    elements: str
    default: []
  since:
    description: Start of the window, in the syntax and time zone of C(journalctl --since) on the node.
    type: str
    default: -15min
  before:
    description: End of the window, in the same syntax. If empty, now.
    type: str
    default: ''
  lines:
    description: Largest number of lines, from 1 to 5000. The last lines of the window are kept.
    type: int
    default: 500
"""

EXAMPLES = r"""
- name: Read what head and agent said in the last hour
  herd.inference.journal_info:
    units: [head, agent]
    since: -1h
  register: journal
"""

RETURN = r"""
lines:
  description: Lines in the order of the journal, with C(time) in microseconds since 1970, C(unit) and C(text).
  returned: always
  type: list
  elements: dict
  sample: [{time: 1795350000000000, unit: herd-agent.service, text: the head serves}]
cut:
  description: Whether earlier lines of the window were left out.
  returned: always
  type: bool
  sample: false
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import cluster_log, redaction
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import commands
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import bundle

#: Seconds after which journalctl is killed. A disk with a large journal is slow.
PATIENCE_S = 60.0


def result(module: HerdModule) -> dict[str, Any]:
    """Read the journals, and return the module's result."""
    given = module.params
    if not 1 <= given["lines"] <= cluster_log.MOST_LINES:
        raise InvalidInputError(f"1 to {cluster_log.MOST_LINES} lines", str(given["lines"]), "choose another number")
    units = cluster_log.chosen(bundle.service_units(uninstall_rules.is_ours), given["units"])
    if not units:
        return {"lines": [], "cut": False}
    argv = cluster_log.journal_command(units, given["since"], given["before"], given["lines"])
    answer = commands.run(argv, timeout=PATIENCE_S)
    if answer.rc:
        raise InvalidInputError(
            "a window of time that journalctl accepts, such as -15min or 2026-11-30 10:00",
            answer.complaint,
            "correct since or before (logs_since, logs_until)",
        )
    return cluster_log.read_journal(answer.out, bundle.known_secrets(redaction.secrets_in), given["lines"])


def main() -> None:
    run_module(
        result,
        units={"type": "list", "elements": "str", "default": []},
        since={"type": "str", "default": "-15min"},
        before={"type": "str", "default": ""},
        lines={"type": "int", "default": 500},
    )


if __name__ == "__main__":
    main()
