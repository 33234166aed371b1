# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster_log
short_description: Join the journals of several hosts into one log
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Orders the lines by time, and names the hosts that did not answer or have more lines than were read.
positional: _input
options:
  _input:
    description: The results of M(herd.inference.journal_info) by host name. An unreachable host's result says so.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the log of two hosts
  ansible.builtin.debug:
    msg: "{{ ({'a': hostvars.a.journal, 'b': hostvars.b.journal} | herd.inference.cluster_log).text }}"
"""

RETURN = r"""
_value:
  description: C(lines) with C(time) in UTC, C(host), C(unit) and C(text), C(problems) in words, and both as C(text).
  type: dict
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.operations import cluster_log


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"cluster_log": cluster_log.joined}
