# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the units whose services run an engine."""

from __future__ import annotations

HEAD, WORKER, ROUTER = "llama-head.service", "llama-rpc.service", "llama-router.service"
#: The unit by the group of its hosts.
BY_GROUP = {"head_server": HEAD, "rpc_worker": WORKER, "fast_router": ROUTER}
