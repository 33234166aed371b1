# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import catalogue as release_catalogue

DOCUMENTATION = r"""
name: release_facts
short_description: Return the catalogue's entry of a release
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Returns the entry of a release after a check that it is complete.
  - Fails if the inventory does not acknowledge an advisory of the release.
positional: release, acknowledged
options:
  _input:
    description: Entries of the catalogue by release.
    type: dict
    required: true
  release:
    description: Name of the release.
    type: str
    required: true
  acknowledged:
    description: Ids of acknowledged advisories.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the RPC protocol of a release
  ansible.builtin.debug:
    msg: "{{ (_llama_build_catalogue | herd.inference.release_facts('0c1e57098')).rpc_protocol }}"
"""

RETURN = r"""
_value:
  description: Entry of the release, with its name as C(release).
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"release_facts": release_catalogue.release_facts}
