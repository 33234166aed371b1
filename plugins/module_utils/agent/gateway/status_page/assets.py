# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Style and script of the status page, which lie beside this file."""

from __future__ import annotations

from pathlib import Path

from ....core.gateway.status.page import Assets


def read_assets() -> Assets:
    """Read them, once for each start of the gateway."""
    here = Path(__file__).resolve().parent
    style, script = ((here / f"status.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return Assets(style, script)
