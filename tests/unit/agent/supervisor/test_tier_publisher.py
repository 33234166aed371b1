# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the tiers that the agent on the gateway's host publishes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.supervisor import settings, tier_publisher
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_status
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import Heartbeat
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import PeerObservation
from tests.unit.agent.agent_config import AGENT
from tests.unit.agent.conftest import run_herdctl
from tests.unit.core.gateway.test_service_status import HEAD

WALL = 1_800_000_000.0
TIER = {
    "name": "reasoning",
    "kind": "distributed",
    "host": "node1",
    "gateway_port": 8081,
    "models": ["big"],
    "model_ids": ["OR1"],
    "address": "10.0.0.31",
    "slots": 0,
    "workers": ["node2"],
}


class Heard:
    """A double of the followers: what was heard of the hosts."""

    def __init__(self) -> None:
        self.head: Any = HEAD
        self.has_asked, self.is_silent = True, False

    def have_asked(self, _names: Collection[str]) -> bool:
        return self.has_asked

    def observations(self, names: Collection[str], now: float) -> dict[str, PeerObservation]:
        if self.is_silent:
            return dict.fromkeys(names, PeerObservation("silent", detail="timed out"))
        return {
            name: PeerObservation("heartbeat", Heartbeat(name, "a", 1, "b", 900.0, head=self.head)) for name in names
        }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.json"
    peers = {"node1": "10.100.0.31", "node2": "10.100.0.32", "node9": "10.100.0.39"}
    path.write_text(json.dumps({**AGENT, "peers": peers, "run_dir": str(tmp_path / "run"), "tiers": [TIER]}))
    return path


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def publisher(config: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> tier_publisher.TierPublisher:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    return tier_publisher.TierPublisher(settings.read_settings(str(config)), cast("Any", heard))


@pytest.fixture
def published(tmp_path: Path) -> Callable[[], tier_status.StatusReport]:
    return lambda: tier_status.read((tmp_path / "run" / "tiers.json").read_text(encoding="utf-8"))


Published = Callable[[], tier_status.StatusReport]


def test_status_is_written_on_each_change_and_as_a_sign_of_life(
    publisher: tier_publisher.TierPublisher, heard: Heard, published: Published
) -> None:
    publisher.publish(100.0, WALL)
    assert published().tiers["reasoning"].endpoints[0].where == "10.0.0.31:8000"
    publisher.publish(101.0, WALL + 1)
    assert published().written == WALL
    heard.head = replace(HEAD, health="loading")
    publisher.publish(101.5, WALL + 1.5)
    assert (published().written, published().tiers["reasoning"].state) == (WALL + 1.5, "loading")
    publisher.publish(103.6, WALL + 3.6)
    assert published().written == WALL + 3.6


def test_status_of_a_former_agent_stays_until_each_host_has_been_asked(
    publisher: tier_publisher.TierPublisher, heard: Heard, tmp_path: Path, published: Published
) -> None:
    heard.has_asked = False
    publisher.publish(101.0, WALL)
    assert not (tmp_path / "run" / "tiers.json").exists()
    # A host that never answers does not keep the status of the others.
    publisher.publish(100.0 + tier_publisher.PATIENCE_S, WALL)
    assert published().written == WALL


def test_silent_host_keeps_its_state_for_a_moment(
    publisher: tier_publisher.TierPublisher, heard: Heard, published: Published
) -> None:
    publisher.publish(100.0, WALL)
    heard.is_silent = True
    publisher.publish(103.0, WALL + 3)
    assert published().tiers["reasoning"].state == "ready"
    publisher.publish(100.0 + tier_publisher.PATIENCE_S, WALL + 5)
    assert published().tiers["reasoning"].reason == "the agent of node1 does not answer (timed out)"


def test_herdctl_tiers_shows_what_the_agent_publishes(
    publisher: tier_publisher.TierPublisher, config: Path, herdctl: Path, heard: Heard
) -> None:
    options = ["--config", str(config.with_name("none.json")), "--agent-config", str(config)]
    done = run_herdctl(herdctl, "tiers", *options)
    assert (done.returncode, "journalctl -u herd-agent" in done.stderr) == (2, True)
    heard.head = None
    publisher.publish(100.0, WALL)
    done = run_herdctl(herdctl, "tiers", *options)
    assert done.returncode == 3
    assert "llama-head.service is not installed on node1" in done.stdout
    assert "(systemctl status herd-agent)" in done.stdout
    done = run_herdctl(herdctl, "tiers", *options, "stop", "reasoning")
    assert (done.returncode, "expected tiers that run as Slurm jobs, found services" in done.stderr) == (2, True)


def test_herdctl_tiers_names_the_host_that_has_them(config: Path, herdctl: Path) -> None:
    data = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**data, "tiers": []}), encoding="utf-8")
    options = ["--config", str(config.with_name("none.json")), "--agent-config", str(config)]
    done = run_herdctl(herdctl, "tiers", *options)
    assert done.returncode == 2
    assert "run this on the gateway's host" in done.stderr


def test_agent_publishes_for_the_gateway_of_its_host(config: Path) -> None:
    found = settings.read_settings(str(config))
    assert [(tier.name, tier.host, tier.models) for tier in found.tiers] == [("reasoning", "node1", ("OR1",))]
