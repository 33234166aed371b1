# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: site_playbook_problem
short_description: Say why a playbook of the collection does not serve a site
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Compares the groups of an inventory with the sites that a playbook serves.
positional: _input
options:
  _input:
    description: The inventory's groups, usually C(groups).
    type: dict
    required: true
  playbook:
    description: Name of the playbook without its folder and ending.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check that the playbook serves the site
  ansible.builtin.assert:
    that: groups | herd.inference.site_playbook_problem('upgrade') == ''
"""

RETURN = r"""
_value:
  description: A sentence with the way that serves the site; empty if the playbook does.
  type: str
  sample: >-
    site.yml: expected a head with its workers (group head_server) or routers (group fast_router), found tiers of a
    Slurm cluster: run playbooks/slurm.yml.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.operations import site_playbooks


def site_playbook_problem(groups: Mapping[str, Sequence[str]], playbook: str) -> str:
    return site_playbooks.problem(playbook, groups)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"site_playbook_problem": site_playbook_problem}
