# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import manager as tier_manager
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_state
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending, Job
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_state import (
    CANCEL,
    SUBMIT,
    Observation,
    QueueSnapshot,
    TierState,
)
from tests.unit.core.slurm.tiers import DIED, FAST, NOW, PENDING


class Cluster:
    """A Slurm that loses answers and jobs, by a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.wall = NOW
        self.jobs: dict[str, Job] = {}
        self.queue = QueueSnapshot()
        self.arriving: list[tuple[float, str]] = []
        self.most, self.number, self.submits = 0, 100, 0

    def sbatch(self) -> tuple[int, str, str]:
        self.submits += 1
        self.number += 1
        job, fate = str(self.number), self.dice.random()
        if fate < 0.2:
            return 1, "", "sbatch: error: Batch job submission failed: Unable to contact slurm controller"
        # Slurm may accept the job long after sbatch has failed.
        late = self.dice.uniform(0, 50) if fate < 0.5 else 0.0
        self.arriving.append((self.wall + late, job))
        self.arrive()
        return (0, job, "") if not late else (1, "", "sbatch: error: Socket timed out on send/recv operation")

    def arrive(self) -> None:
        for when, job in list(self.arriving):
            if when <= self.wall:
                self.arriving.remove((when, job))
                self.jobs[job] = replace(PENDING, id=job, comment=tier_state.comment(FAST))
        self.most = max(self.most, len(self.jobs))

    def look(self) -> None:
        fate = self.dice.random()
        if fate < 0.2:
            self.queue = replace(self.queue, problem="silent", since=self.wall)
        else:
            self.queue = QueueSnapshot(self.wall, tuple(self.jobs.values()))

    def live(self) -> None:
        for job in list(self.jobs.values()):
            fate = self.dice.random()
            if fate < 0.05:
                del self.jobs[job.id]
            elif fate < 0.5:
                states = ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "POWER_UP_NODE", "UPDATE_DB", "EXPEDITING"]
                name = self.dice.choice([job.name, job.name, "renamed"])
                self.jobs[job.id] = replace(job, state=self.dice.choice(states), name=name)


@pytest.mark.parametrize("seed", range(60))
def test_tier_never_has_two_jobs(seed: int) -> None:
    cluster, state = Cluster(seed), TierState()
    kept: Any = None
    for _turn in range(400):
        cluster.wall += cluster.dice.uniform(1, 6)
        cluster.arrive()
        cluster.live()
        cluster.look()
        endings = {
            state.job: cluster.dice.choice([DIED, Ending(), Ending("CANCELLED"), Ending("TIMEOUT", elapsed=1e5)])
        }
        state, actions = tier_manager.step(FAST, state, Observation(cluster.wall, cluster.queue, endings=endings))
        for action in actions:
            assert action.kind != CANCEL
            if action.kind == SUBMIT:
                state = tier_manager.about_to_submit(state, cluster.wall)
                kept = json.loads(json.dumps(asdict(state)))
                status, job, text = cluster.sbatch()
                if cluster.dice.random() < 0.2:
                    # The manager is killed, and restarts with the state on disk.
                    state = tier_state.state_from_data(kept)
                else:
                    state = tier_manager.submitted(FAST, state, cluster.wall, status, job, text)
    assert cluster.most == 1
    assert cluster.submits > 3
