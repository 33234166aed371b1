# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS to a server whose certificate is pinned (requests). No authority and no host name is checked."""

from __future__ import annotations

import re
import ssl
from typing import Any

from ...core.host import certificate as certificate_rules


def context(certificate: str) -> ssl.SSLContext:
    """Create a TLS context that trusts this certificate only."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.check_hostname = False
    found.load_verify_locations(cadata=certificate)
    found.verify_flags |= certificate_rules.PARTIAL_CHAIN
    return found


try:
    from requests.adapters import HTTPAdapter
except ImportError:
    # This file must import on hosts without requests; callers check openai_api.REQUESTS_ERROR.
    pass
else:

    class Pinned(HTTPAdapter):
        """Leaves verification to the context, which requests would otherwise fill with the system's authorities."""

        def __init__(self, certificate: str) -> None:
            self._context = context(certificate)
            super().__init__()

        def init_poolmanager(self, *arguments: Any, **words: Any) -> None:
            """Make connections with our context."""
            super().init_poolmanager(*arguments, ssl_context=self._context, assert_hostname=False, **words)

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Nothing is added to what the context trusts."""


def reason(error: Exception) -> str:
    """Return why a connection was not secure, as OpenSSL reports it."""
    found = re.search(r"certificate verify failed: [^()'\"]+", str(error)) or re.search(r"[A-Z_]{6,}[A-Z]", str(error))
    return found[0].strip() if found else "no TLS"
