# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tier, its jobs and observations of them, for the tests of the tier manager's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import manager as tier_manager
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_report, tier_state
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import Endpoint
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending, Job
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_state import (
    Observation,
    QueueSnapshot,
    TierSpec,
    TierState,
)

NOW = 1_763_700_000.0
BACKOFF_S = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 900.0)
FAST = TierSpec(
    "fast",
    "llama-14b",
    "llama",
    "/s/run-14b.slurm",
    BACKOFF_S,
    preempted_by=("vasp_priority",),
    hosts=("vasp-02",),
)
RUNNING = Job("12", "llama-14b", "llama", "RUNNING", start=NOW - 700, nodes=("vasp-02",), comment="herd-tiers")
PENDING = replace(RUNNING, state="PENDING", reason="Priority", start=None, nodes=())
VASP = Job(
    "88", "vasp", "vasp", "RUNNING", start=NOW - 60, end=NOW + 3600, nodes=("vasp-01", "vasp-02"), qos="vasp_priority"
)
WAITING = replace(VASP, state="PENDING", reason="Resources", start=None, end=None, nodes=())
ENTRY = Endpoint(
    tier="fast", job_id="12", host="vasp-02", address="10.0.0.42", port=8080, models=("m",), state="ready", percent=100,
    context=2048, slots=1, release="r", started=NOW - 690, heartbeat=NOW - 1,
)  # fmt: skip
SEEN = {tier_state.run_of(ENTRY): NOW - 50}
DIED = Ending(state="FAILED", exit_code=1, elapsed=4, log="head on vasp-02 has ended with status 1")
NAMED = "herd-tiers tier=fast data=0123456789abcdef"


def observed(*jobs: Job, wall: float = NOW, **more: Any) -> Observation:
    return Observation(wall=wall, queue=QueueSnapshot(wall - 0.1, jobs), **more)


def step(state: TierState, found: Observation, spec: TierSpec = FAST) -> tuple[TierState, list[tuple[str, str]]]:
    after, actions = tier_manager.step(spec, state, found)
    return after, [(action.kind, action.job) for action in actions]


def said(*jobs: Job, state: TierState | None = None, **more: Any) -> tuple[str, str, int]:
    tier = tier_report.report(FAST, state or TierState(), observed(*jobs, **more))
    return tier.state, tier.reason, tier.retry_after_s
