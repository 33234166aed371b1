# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of an API that serves TLS."""

from __future__ import annotations


class ModuleDocFragment:
    """Certificate of the API that a module plans."""

    DOCUMENTATION = r"""
options:
  tls:
    description: Certificate and key of the API on this host. Without them, the API serves without TLS.
    type: dict
    default: {}
    suboptions:
      certificate:
        description: File of the certificate.
        type: path
      key:
        description: File of the private key.
        type: path
"""
