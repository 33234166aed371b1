# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least configuration of the agent, as role node_agent writes it."""

from __future__ import annotations

from typing import Any

AGENT: dict[str, Any] = {
    "schema": 1,
    "node": "n",
    "address": "127.0.0.2",
    "port": 9,
    "peers": {},
    "prefix": "/opt/llama.cpp",
    "limits": {},
    "disks": {"paths": [], "low_gib": 10, "full_gib": 1},
}
