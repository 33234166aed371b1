# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: systemd_quote
short_description: Quote words for a setting of a systemd unit
version_added: 0.1.0
description:
  - Joins words with spaces. A word with spaces, quotes or other special characters is quoted, so that systemd reads the
    same words again.
author: herd.inference contributors (@herd-inference)
positional: _input
options:
  _input:
    description: The words.
    type: list
    elements: str
    required: true
  command:
    description: Whether the setting is a command line, such as C(ExecStart=), in which systemd replaces C($) variables.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show a command line as a unit has it
  ansible.builtin.debug:
    msg: "ExecStart={{ ['/bin/echo', '100 %'] | herd.inference.systemd_quote }}"
"""

RETURN = r"""
_value:
  description: The words as one text.
  type: str
  sample: /bin/echo "100 %%"
"""

from collections.abc import Iterable
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import unit_syntax


def systemd_quote(words: Iterable[Any], command: bool = True) -> str:
    quote = unit_syntax.quote_argument if command else unit_syntax.quote_word
    return " ".join(quote(str(word)) for word in words)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"systemd_quote": systemd_quote}
