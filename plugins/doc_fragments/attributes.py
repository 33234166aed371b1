# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that all modules document alike."""

from __future__ import annotations


class ModuleDocFragment:
    """Support of check mode and diff mode."""

    #: Of a module that changes the host. A module adds C(details) where they are not plain.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode, and report what would change without changing it.
    support: full
  diff_mode:
    description: Returns the state before and after in diff mode.
    support: full
"""

    #: Of a module that only reads or plans.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode. The module never changes anything.
    support: full
  diff_mode:
    description: The module never changes anything, so there is no difference to return.
    support: none
"""
