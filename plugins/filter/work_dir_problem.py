# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: work_dir_problem
short_description: Check the path of a work space for vLLM's jobs
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Returns a sentence if the path is unset, a placeholder, not absolute or too long; otherwise an empty string.
options:
  _input:
    description: The path.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stop if the work space is not set
  ansible.builtin.assert:
    that: herd_work_dir | herd.inference.work_dir_problem == ''
"""

RETURN = r"""
_value:
  description: The sentence, or an empty string.
  type: str
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import environment


def work_dir_problem(path: str) -> str:
    try:
        environment.check_work_dir(path)
    except InvalidInputError as error:
        return str(error)
    return ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"work_dir_problem": work_dir_problem}
