# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show URLs without credentials."""

from __future__ import annotations

from urllib.parse import urlsplit


def public_url(url: str) -> str:
    """Remove the places in which a URL may hold credentials."""
    split = urlsplit(url)
    return split._replace(netloc=split.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()
