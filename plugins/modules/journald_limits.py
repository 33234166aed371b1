#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: journald_limits
short_description: Limit the size, age and rate of a host's journal
version_added: 0.1.0
description:
  - Writes a drop-in for C(systemd-journald), restarts it, and shrinks a journal above the new limit. Running services
    keep their connection to the journal during the restart.
  - Restarts C(systemd-journald) if a killed run wrote the drop-in without a restart.
  - Uses only options of systemd 239 (EL8), which has no journal namespaces. So the limits on the size apply to the
    whole host, and the limit on the rate applies to each service.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  storage:
    description: Storage of the journal. V(persistent) survives a reboot, unlike the default of EL8.
    type: str
    choices: [persistent, auto, volatile]
    default: persistent
  max_mib:
    description: Largest size of the journal in MiB.
    type: int
    default: 2048
  keep_free_mib:
    description: MiB that the journal leaves free on its file system.
    type: int
    default: 2048
  days:
    description: Days after which a line is removed.
    type: int
    default: 90
  lines:
    description: Lines that one service may write within O(interval). Further lines are counted and dropped.
    type: int
    default: 10000
  interval:
    description: Interval of O(lines) in seconds.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Limit the journal to 4 GiB and a month
  herd.inference.journald_limits:
    max_mib: 4096
    days: 30
"""

RETURN = r"""
bytes:
  description: Present size of the journal in bytes.
  returned: success
  type: int
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import journald as journald_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import journald


def result(module: HerdModule) -> dict[str, Any]:
    """Write the drop-in, restart journald, shrink the journal, and return the module's result."""
    wanted = journald_rules.JournalLimits(**module.params)
    before, after = files.read_text(journald.DROP_IN), journald_rules.drop_in(wanted)
    changes = before != after or journald.PENDING.exists()
    if changes and not module.check_mode:
        journald.apply(after)
    size = journald_rules.usage(journald.usage())
    # Only for a new limit. Later, journald shrinks the journal itself, and may exceed the limit briefly.
    if changes and not module.check_mode and size > wanted.max_mib << 20:
        journald.shrink(wanted.max_mib)
        size = journald_rules.usage(journald.usage())
    return {
        "changed": changes,
        "bytes": size,
        "diff": file_diff(journald.DROP_IN, before, after),
    }


def main() -> None:
    run_module(
        result,
        storage={"type": "str", "choices": ["persistent", "auto", "volatile"], "default": "persistent"},
        max_mib={"type": "int", "default": 2048},
        keep_free_mib={"type": "int", "default": 2048},
        days={"type": "int", "default": 90},
        lines={"type": "int", "default": 10000},
        interval={"type": "int", "default": 30},
    )


if __name__ == "__main__":
    main()
