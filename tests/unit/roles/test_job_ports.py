# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard closes the ports of jobs' workers, and no port of another role."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_plan import Cluster

ROOT = Path(__file__).parents[3]
RPC_PORT = 50052
# Fabric ports of other roles on the same nodes.
OTHERS = {
    "llama_release": "llama_release_port",
    "model_store": "model_store_share_port",
    "node": "node_bandwidth_port",
    "node_agent": "node_agent_port",
}


def variables(role: str, part: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((ROOT / "roles" / role / part / "main.yml").read_text(encoding="utf-8"))
    return found


def test_guard_closes_no_port_of_another_role() -> None:
    guard = variables("slurm_tiers", "vars")["_slurm_tiers_guard"]
    assert isinstance(guard, dict)
    span = re.search(r"int \+ (\d+)", guard["last"])
    assert span is not None
    closed = range(RPC_PORT, RPC_PORT + int(span[1]) + 1)
    # A job uses these ports only: the guard opens no others.
    assert len(closed) == Cluster.__dataclass_fields__["ports"].default
    for role, name in OTHERS.items():
        assert variables(role, "defaults")[name] not in closed, name
