# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of tiers whose engines are services, from the heartbeats of their hosts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import service_status, tiers
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.service_status import ServiceTier
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_status
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import (
    Gpu,
    Head,
    Heartbeat,
    Worker,
)
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import PeerObservation

WALL = 1_800_000_000.0
REASONING = ServiceTier("reasoning", "node1", False, "10.0.0.31", ("OR1",), workers=("node2", "node3"))
FAST = ServiceTier("fast", "node3", True, "10.0.0.33", ("small",), slots=2)
HEAD = Head(
    unit="llama-head.service",
    active="active",
    sub="running",
    job=False,
    pid=70,
    started=500.0,
    restarts=0,
    release="0c1e57098",
    unit_age_s=0.1,
    api="10.0.0.31:8000",
    health="ok",
    workers=("node2", "node3"),
    lost=(),
    slots=4,
    busy=1,
    waiting=0,
    tokens_total=9,
    tokens_per_second=12.5,
    supervision="watching",
    reason="",
    recoveries=0,
    draining=False,
)
WORKER = Worker(
    unit="llama-rpc.service",
    active="active",
    sub="running",
    job=False,
    pid=71,
    started=400.0,
    restarts=0,
    release="0c1e57098",
    unit_age_s=0.1,
    state="S",
    protocol="",
    listening=True,
    clients=(),
    stale=0,
)


def seen(head: Head | None = HEAD, worker: Worker | None = WORKER, router: Head | None = None) -> dict[str, Any]:
    gpu = Gpu(0, "Tesla V100S", 27000, 32768, 40, 90)
    beats = {
        "node1": Heartbeat("node1", "a", 1, "b", 1500.0, head=head, gpus=(gpu,)),
        "node2": Heartbeat("node2", "a", 1, "b", 1500.0, worker=worker),
        "node3": Heartbeat("node3", "a", 1, "b", 1500.0, worker=WORKER, router=router),
    }
    return {name: PeerObservation("heartbeat", beat) for name, beat in beats.items()}


def test_ready_head_is_an_endpoint_with_its_load_and_the_memory_of_its_hosts() -> None:
    found = service_status.report(REASONING, seen(), WALL)
    assert (found.state, found.enabled, found.nodes) == ("ready", True, ("node1", "node2", "node3"))
    (endpoint,) = found.endpoints
    assert (endpoint.where, endpoint.models, endpoint.slots) == ("10.0.0.31:8000", ("OR1",), 4)
    # It has run for a thousand of the 1500 seconds since its host has started.
    assert endpoint.started == WALL - 1000
    assert endpoint.load == {
        "processing": 1,
        "waiting": 0,
        "tokens_per_s": 12.5,
        "gpus": [{"host": "node1", "name": "Tesla V100S", "used_mib": 27000, "total_mib": 32768}],
    }


def test_status_file_of_services_is_read_like_that_of_jobs() -> None:
    found = service_status.reports([REASONING, FAST], seen(router=replace(HEAD, api="127.0.0.1:8080")), WALL)
    text = tier_status.write(tier_status.StatusReport(WALL, found))
    read = tier_status.read(text)
    assert read.tiers == found
    status = {name: tiers.status_of(tier, {"10.0.0.31", "10.0.0.33"}) for name, tier in read.tiers.items()}
    # An engine that listens at every address is reached at the one of the inventory.
    assert {name: one.endpoint for name, one in status.items()} == {
        "reasoning": "10.0.0.31:8000",
        "fast": "10.0.0.33:8080",
    }
    assert "node1:8000" in tier_status.table(read, WALL)
    assert json.loads(text)["tiers"]["fast"]["job_id"] is None


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"active": "inactive", "pid": 0}, "stopped", "llama-head.service is stopped on node1"),
        ({"active": "failed", "pid": 0}, "stopped", "llama-head.service has failed on node1"),
        ({"active": "activating", "pid": 0}, "pending", "the head on node1 is starting"),
        ({"active": "inactive", "job": True}, "pending", "the head on node1 is starting"),
        ({"pid": 0}, "pending", "the head on node1 is starting"),
        ({"draining": True}, "draining", "the head finishes its running requests"),
        ({"health": "loading"}, "loading", "the model is loading on node1"),
        ({"health": "refused"}, "loading", "the model is loading on node1"),
        ({"health": "silent", "supervision": "mute"}, "unknown", "the API on node1 does not answer"),
        ({"supervision": "waiting", "reason": "it hangs"}, "backing-off", "it hangs"),
        ({"supervision": "recovering", "reason": "lost node2", "lost": ("node2",)}, "pending", "again: lost node2"),
        ({"supervision": "held", "lost": ("node2",)}, "pending", "no connection to node2"),
        ({"api": ""}, "unknown", "names no port"),
        ({"api": "10.0.0.31:0"}, "unknown", "names no port"),
        ({"lost": ("node2", "node3")}, "ready", "ready"),
    ],
)  # fmt: skip
def test_head_that_does_not_serve_says_why(changes: dict[str, Any], state: str, words: str) -> None:
    found = service_status.report(REASONING, seen(replace(HEAD, **changes)), WALL)
    assert found.state == state
    assert words in found.reason
    assert bool(found.endpoints) == (state == "ready")
    assert found.enabled == (state != "stopped")


@pytest.mark.parametrize(
    "worker",
    [None, replace(WORKER, active="inactive"), replace(WORKER, listening=False), replace(WORKER, state="T")],
)
def test_head_that_waits_names_the_worker_that_is_away(worker: Worker | None) -> None:
    head = replace(HEAD, active="activating", sub="start-pre", pid=0)
    found = service_status.report(REASONING, seen(head, worker), WALL)
    assert (found.state, found.reason) == ("pending", "the head waits for its worker on node2")


def test_silent_host_and_missing_service_are_reported() -> None:
    silent = {**seen(), "node1": PeerObservation("silent", detail="timed out")}
    found = service_status.report(REASONING, silent, WALL)
    assert (found.state, found.reason) == ("unknown", "the agent of node1 does not answer (timed out)")
    found = service_status.report(FAST, seen(), WALL)
    assert (found.state, found.reason) == ("stopped", "llama-router.service is not installed on node3")


def test_router_goes_on_while_one_of_its_models_is_restarted() -> None:
    router = replace(HEAD, api="10.0.0.33:8080", supervision="recovering", reason="the model small is hung")
    found = service_status.report(FAST, seen(router=router), WALL)
    assert found.state == "ready"
    # Each model has these slots; the heartbeat counts those of the models in memory.
    assert found.endpoints[0].slots == 2


@pytest.mark.parametrize(
    ("offered", "models"),
    [
        # The router found another one in its folder.
        (("found", "small"), ("small", "found")),
        # A named model without a file is not offered.
        (("found",), ("found",)),
        # The agent has not asked yet.
        ((), ("small",)),
    ],
)
def test_models_that_a_router_found_are_offered(offered: tuple[str, ...], models: tuple[str, ...]) -> None:
    router = replace(HEAD, api="10.0.0.33:8080", models=offered)
    (endpoint,) = service_status.report(FAST, seen(router=router), WALL).endpoints
    assert endpoint.models == models
    # A head has one model, whatever it calls it.
    (endpoint,) = service_status.report(REASONING, seen(head=replace(HEAD, models=offered)), WALL).endpoints
    assert endpoint.models == ("OR1",)
