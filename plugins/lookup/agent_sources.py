# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files of herdctl on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: agent_sources
short_description: Read the files of herdctl from this collection
version_added: 0.1.0
description:
  - Returns the packages C(core) and C(agent) of this collection's C(module_utils) as one dictionary. The key is a
    path below the installed version, such as C(lib/herd/core/errors.py); the value is the file's text.
  - A node runs the very files that the Ansible modules use, so each rule exists once.
author: herd.inference contributors (@herd-inference)
options:
  _terms:
    description: Takes no terms.
seealso:
  - module: herd.inference.agent_install
"""

EXAMPLES = r"""
- name: Install herdctl
  herd.inference.agent_install:
    files: "{{ lookup('herd.inference.agent_sources') }}"
"""

RETURN = r"""
_raw:
  description: One dictionary of texts by path.
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.herd.inference.plugins.module_utils.ports import agent_install

MODULE_UTILS = Path(__file__).resolve().parent.parent / "module_utils"


class LookupModule(LookupBase):
    """Read the files of herdctl."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        """Return one dictionary of texts by path."""
        try:
            return [agent_install.read_sources(MODULE_UTILS)]
        except OSError as error:
            raise AnsibleError(
                f"The collection's own files cannot be read: {error}. Install herd.inference again."
            ) from error
