# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter release_source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import catalogue as release_catalogue

DOCUMENTATION = r"""
name: release_source
short_description: Where the source of a release comes from
version_added: 0.1.0
author:
  - herd.inference contributors (@herd-inference)
description:
  - Chooses the repository, or the archive that the catalogue knows by its file name or checksum.
positional: kind, location, sha256
options:
  _input:
    description: The release's entry, as P(herd.inference.release_facts#filter) returns it.
    type: dict
    required: true
  kind:
    description: V(git) or V(archive).
    type: str
    required: true
  location:
    description: The repository (empty for the catalogue's), or the URL or path of the archive.
    type: str
    default: ""
  sha256:
    description: Chooses among the catalogue's archives by checksum in place of the file name.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show where the source comes from
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


def release_source(entry: Mapping[str, Any], kind: str, location: str = "", sha256: str = "") -> dict[str, Any]:
    """Where the source of a release comes from."""
    return release_catalogue.source(entry, kind, location or "", sha256 or "")


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"release_source": release_source}
