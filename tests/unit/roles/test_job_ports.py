# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard closes on a node is a worker's own."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_plan import Cluster

ROOT = Path(__file__).parents[3]
RPC_PORT = 50052
# Ports of other roles, on the fabric of the same nodes.
OTHERS = {
    "llama_release": "llama_release_port",
    "model_store": "model_store_share_port",
    "node": "node_bandwidth_port",
    "node_agent": "node_agent_port",
}


def of(role: str, part: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((ROOT / "roles" / role / part / "main.yml").read_text(encoding="utf-8"))
    return found


def test_no_port_of_another_role_is_closed_by_the_guard() -> None:
    guard = of("slurm_tiers", "vars")["_slurm_tiers_guard"]
    assert isinstance(guard, dict)
    beyond = re.search(r"int \+ (\d+)", guard["last"])
    assert beyond is not None
    closed = range(RPC_PORT, RPC_PORT + int(beyond[1]) + 1)
    # A job tries none beyond, which nobody would open to it.
    assert len(closed) == Cluster.__dataclass_fields__["ports"].default
    for role, name in OTHERS.items():
        assert of(role, "defaults")[name] not in closed, name
