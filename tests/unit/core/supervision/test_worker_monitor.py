# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a worker is restarted by the agent of its own host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.supervision.limits import RecoveryLimits
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.metric_names import STALE, STANDSTILL
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import WorkerObservation
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.worker_monitor import WorkerMonitor

WELL = WorkerObservation("active", False, 101, 500, "S", 0)
VIEWS: Mapping[str, tuple[WorkerObservation, str, float, int]] = {
    "well": (WELL, "", 300, 0),
    "stopped": (replace(WELL, state="T"), "", 4, 1),
    "stopped for a moment": (replace(WELL, state="T"), "", 2, 0),
    "under a debugger": (replace(WELL, state="t"), "", 300, 0),
    "hung": (replace(WELL, stale=3), "", 62, 1),
    "slow to close": (replace(WELL, stale=3), "", 50, 0),
    "held": (replace(WELL, state="T"), "by hand", 300, 0),
    "restarted by somebody": (replace(WELL, state="T", job=True), "", 300, 0),
    "not there": (WorkerObservation("inactive", False, 0, 0, "", 0), "", 300, 0),
}


@pytest.mark.parametrize(("view", "hold", "seconds", "restarts"), VIEWS.values(), ids=VIEWS)
def test_host_judges_its_own_worker(view: WorkerObservation, hold: str, seconds: float, restarts: int) -> None:
    monitor, now, found = WorkerMonitor(RecoveryLimits()), 0.0, []
    monitor.step(now, WELL)
    while now < seconds:
        now += 0.5
        found += monitor.step(now, view, hold)
    assert [action.kind for action in found] == ["restart"] * restarts
    assert monitor.causes == ({STALE if view.stale else STANDSTILL: restarts} if restarts else {})
