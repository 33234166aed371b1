# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a tier: from the tier manager, or from the registry."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import tiers
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_status
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import Registry
from tests.unit.core.slurm.test_endpoint_registry import FAST

READY = tier_status.TierReport(True, "ready", endpoints=(FAST,))


def test_the_ready_engine_of_the_newest_job_is_chosen() -> None:
    endpoints = (
        FAST,
        replace(FAST, job_id="60", started=FAST.started + 1, port=8081),
        replace(FAST, job_id="70", started=FAST.started + 2, port=8082, state="loading"),
    )
    assert tiers.status_of(replace(READY, endpoints=endpoints)).endpoint == "10.0.0.42:8081"


def test_a_ready_tier_has_its_engines_endpoint_and_models() -> None:
    status = tiers.status_of(READY)
    assert (status.is_ready, status.endpoint, status.models) == (True, "10.0.0.42:8080", FAST.models)


def test_loading_tier_shows_its_progress_and_the_time_of_the_next_try() -> None:
    status = tiers.status_of(replace(READY, state="loading", percent=43, reason="loading 43 %", retry_after_s=9))
    assert (status.is_ready, status.endpoint, status.percent, status.retry_after) == (False, "", 43, 9)


def test_a_ready_tier_without_an_engine_is_not_ready() -> None:
    assert not tiers.status_of(replace(READY, endpoints=())).is_ready


def test_the_registry_alone_gives_states_and_endpoints() -> None:
    registry = Registry((FAST, replace(FAST, tier="reasoning", state="draining")))
    names = ["fast", "reasoning", "third"]
    found = {name: tiers.status_of(tier) for name, tier in tiers.from_registry(registry, names).items()}
    assert found["fast"].endpoint == "10.0.0.42:8080"
    assert (found["reasoning"].state, found["reasoning"].is_ready) == ("draining", False)
    assert "the tier manager is silent" in found["third"].reason


def test_engine_on_a_host_that_is_none_of_the_inventorys_gets_no_requests() -> None:
    assert tiers.status_of(READY, {FAST.address}).is_ready
    found = tiers.status_of(READY, {"10.9.9.9"})
    assert (found.is_ready, found.state, found.models) == (False, "unknown", ())
    assert found.reason == f"its engine at {FAST.address} is on no host of the inventory"
