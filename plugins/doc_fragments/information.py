# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules that only look have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of a module that changes nothing."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Changes nothing in any mode, and looks at the same.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""
