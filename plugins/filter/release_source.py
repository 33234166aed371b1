# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import catalogue as release_catalogue

DOCUMENTATION = r"""
name: release_source
short_description: Return the location of a release's source
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Returns the repository of a release, or an archive of the catalogue by its file name or checksum.
positional: kind, location, sha256
options:
  _input:
    description: Entry of the release, as returned by P(herd.inference.release_facts#filter).
    type: dict
    required: true
  kind:
    description: V(git) or V(archive).
    type: str
    required: true
  location:
    description: Repository, or URL or path of an archive. Empty uses the repository of the catalogue.
    type: str
    default: ""
  sha256:
    description: Checksum that selects an archive of the catalogue. Empty selects it by its file name.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the location of a source
  ansible.builtin.debug:
    msg: >-
      {{ _llama_build_catalogue | herd.inference.release_facts('0c1e57098')
         | herd.inference.release_source('archive', '/srv/llama_cpp_python-0.3.36.tar.gz') }}
"""

RETURN = r"""
_value:
  description: The option O(herd.inference.llama_build#module:source) of the module.
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"release_source": release_catalogue.source}
