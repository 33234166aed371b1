# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml, killed at ten random moments between bare hosts and an answer, converges when it is started again.

The moments are spread over the duration of a full run, which is measured first: one in each tenth. In three of the
rounds nodes lose their power too. HERD_SEED repeats a sequence of moments; every run prints its own.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.slow.cluster import HEAD, NODES, WORKERS, Cluster, assert_changes_nothing, assert_converged, last_task
from tests.slow.conftest import Notes

ROUNDS = 10
RELEASE = "0c1e57098"
SEED = int(os.environ.get("HERD_SEED") or random.SystemRandom().randrange(10**6))
FULL_RUN = pytest.StashKey[float]()


def plan(seed: int) -> list[tuple[float, tuple[str, ...]]]:
    """Return for each round the share of a full run before the kill, and the hosts that lose power."""
    rng = random.Random(seed)
    shares = [(index + rng.random()) / ROUNDS for index in range(ROUNDS)]
    # In the first rounds a node has nothing that a power loss could damage.
    unlucky = dict(zip(rng.sample(range(2, ROUNDS), 3), ((HEAD,), NODES, WORKERS[:1]), strict=True))
    return [(share, unlucky.get(index, ())) for index, share in enumerate(shares)]


PLAN = plan(SEED)


def test_full_run_converges(cluster: Cluster, notes: Notes, request: pytest.FixtureRequest) -> None:
    """Measure the duration over which the moments are spread; nothing is killed here."""
    run = cluster.deploy()
    assert_converged(cluster, run, RELEASE)
    request.config.stash[FULL_RUN] = run.seconds
    again = cluster.deploy()
    assert_changes_nothing(again)
    notes.add(f"seed {SEED} (HERD_SEED repeats it); a full run: {run.seconds:.0f} s, a second: {again.seconds:.0f} s")


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
def test_killed_run_converges_when_started_again(
    cluster: Cluster, notes: Notes, request: pytest.FixtureRequest, tmp_path: Path, number: int
) -> None:
    full_run = request.config.stash.get(FULL_RUN, None)
    if full_run is None:
        pytest.fail("expected the duration of a full run, found none: run test_full_run_converges before this one")
    share, unlucky = PLAN[number - 1]
    moment, task = kill_at(cluster, share, full_run, unlucky, tmp_path / "output")
    recovery = cluster.deploy()
    power = f", no power on {', '.join(unlucky)}" if unlucky else ""
    told = f"round {number}: killed after {moment:.1f} s in '{task}'{power}; started again: {recovery.seconds:.0f} s"
    notes.add(told if recovery.rc == 0 else f"{told}, FAILED")
    assert_converged(cluster, recovery, RELEASE)
    again = cluster.deploy()
    assert_changes_nothing(again)
    notes.add(f"round {number}: and once more, without a change: {again.seconds:.0f} s")


def kill_at(
    cluster: Cluster, share: float, full_run: float, unlucky: tuple[str, ...], output: Path
) -> tuple[float, str]:
    """Start site.yml and kill it; if it ends before that, its own duration is the new measure."""
    while True:
        process = cluster.begin(output)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < share * full_run:
            time.sleep(0.02)
        took = time.monotonic() - began
        if process.poll() is None:
            if unlucky:
                cluster.crash(unlucky)
            cluster.kill(process)
            cluster.start(unlucky)
            return took, last_task(output)
        assert process.returncode == 0, output.read_text(encoding="utf-8")[-6000:]
        full_run = took
        cluster.down()
        cluster.up()
