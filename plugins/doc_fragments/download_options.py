# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that ask the servers of models."""

from __future__ import annotations


class ModuleDocFragment:
    """Credentials and patience of the HTTP client (DOWNLOAD_OPTIONS in module_utils/herd_module.py)."""

    DOCUMENTATION = r"""
options:
  token:
    description:
      - Bearer token for gated models.
      - It is sent to the hosts of the given URLs only, and not to a host that a mirror or a redirect names.
    type: str
  timeout:
    description: Seconds without a response, or without a byte, after which a request fails.
    type: float
    default: 60
requirements:
  - requests (for http and https)
"""
