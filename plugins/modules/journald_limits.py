#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module journald_limits."""

from __future__ import annotations

DOCUMENTATION = r"""
module: journald_limits
short_description: Limit what the journal of a host may take
version_added: 0.2.0
description:
  - Writes a drop-in for C(systemd-journald), restarts it, and brings a journal that is larger already below its limit.
    The streams of running services survive that restart.
  - A run that was killed between the drop-in and the restart is made good by the next one.
  - All options are those that systemd 239 (EL8) knows too. There are no journal namespaces in it, so that the limits on
    the size are those of the whole host; the one on the rate holds for each service by itself.
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  storage:
    description: Where the journal is kept. V(persistent) survives a reboot; EL8 by itself forgets it.
    type: str
    choices: [persistent, auto, volatile]
    default: persistent
  max_mib:
    description: MiB that the journal may take.
    type: int
    default: 2048
  keep_free_mib:
    description: MiB that it leaves free on its file system.
    type: int
    default: 2048
  days:
    description: Days that a line is kept at the most.
    type: int
    default: 90
  lines:
    description: Lines that one service may write in O(interval); what is more is counted and dropped.
    type: int
    default: 10000
  interval:
    description: Seconds in which O(lines) are counted.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Let logs take 4 GiB and stay for a month
  herd.inference.journald_limits:
    max_mib: 4096
    days: 30
"""

RETURN = r"""
restarted:
  description: Whether journald was restarted, or would be.
  returned: success
  type: bool
  sample: false
bytes:
  description: Bytes that the journal takes now.
  returned: success
  type: int
  sample: 134217728
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import journald as journald_rules
from ansible_collections.herd.inference.plugins.module_utils.ports.host import journald


def result(module: AnsibleModule) -> dict[str, Any]:
    """Look, write, restart, and make room."""
    options = module.params
    wanted = journald_rules.JournalLimits(
        options["storage"],
        options["max_mib"],
        options["keep_free_mib"],
        options["days"],
        options["lines"],
        options["interval"],
    )
    before, after = journald.drop_in(), journald_rules.drop_in(wanted)
    changes = before != after or journald.is_pending()
    if changes and not module.check_mode:
        journald.put(after)
    size = journald_rules.usage(journald.usage())
    # Only where the limit is new: journald itself sees to it from then on, and may be above it for a moment.
    if changes and not module.check_mode and size > wanted.most_mib << 20:
        journald.shrink(wanted.most_mib)
        size = journald_rules.usage(journald.usage())
    return {
        "changed": changes,
        "restarted": changes,
        "bytes": size,
        "diff": {
            "before_header": str(journald.DROP_IN),
            "after_header": str(journald.DROP_IN),
            "before": before,
            "after": after,
        },
    }


def main() -> None:
    """Read the arguments, set the limits, answer."""
    module = AnsibleModule(
        argument_spec={
            "storage": {"type": "str", "choices": list(journald_rules.STORAGES), "default": "persistent"},
            "max_mib": {"type": "int", "default": 2048},
            "keep_free_mib": {"type": "int", "default": 2048},
            "days": {"type": "int", "default": 90},
            "lines": {"type": "int", "default": 10000},
            "interval": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
