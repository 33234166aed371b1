# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When rank 0 drains, and for how long."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import drain, requeue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job.spec import JobTiming

TIMING = JobTiming(drain=25, renew_before=1800)


@pytest.mark.parametrize("order", [requeue.PREEMPTED, requeue.TIME_LIMIT, requeue.STOP])
def test_job_drains_at_once(order: str) -> None:
    assert drain.DrainRule(TIMING).may_begin(order, 0.0, 100.0, 5, 100.0)


@pytest.mark.parametrize(("end", "until"), [(0.0, 125.0), (200.0, 125.0), (130.0, 120.0), (101.0, 101.0)])
def test_drain_ends_before_slurm_ends_the_job(end: float, until: float) -> None:
    assert drain.DrainRule(TIMING).until(end, 100.0) == until


def test_outdated_job_waits_for_ten_seconds_without_requests() -> None:
    rule = drain.DrainRule(TIMING)
    assert not rule.may_begin(requeue.OUTDATED, 0.0, 100.0, None, 100.0)
    assert rule.is_waiting
    assert not rule.may_begin(requeue.OUTDATED, 0.0, 101.0, 0, 101.0)
    assert not rule.may_begin(requeue.OUTDATED, 0.0, 105.0, 1, 105.0)
    assert not rule.may_begin(requeue.OUTDATED, 0.0, 106.0, 0, 106.0)
    assert rule.may_begin(requeue.OUTDATED, 0.0, 116.0, 0, 116.0)


def test_renewal_waits_for_an_idle_window_until_its_drain_must_begin() -> None:
    rule = drain.DrainRule(TIMING)
    assert not rule.may_begin(requeue.RENEWAL, 1100.0, 100.0, 1, 100.0)
    assert not rule.may_begin(requeue.RENEWAL, 1100.0, 1044.0, 1, 1044.0)
    assert rule.may_begin(requeue.RENEWAL, 1100.0, 1045.0, 1, 1045.0)


def test_preemption_shortens_a_drain() -> None:
    one = drain.Drain(requeue.RENEWAL, 500.0, 100.0, True)
    one.hurry(requeue.PREEMPTED, 140.0)
    assert (one.order, one.until) == (requeue.PREEMPTED, 130.0)
