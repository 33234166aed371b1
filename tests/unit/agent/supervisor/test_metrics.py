# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of a node with a head, as the agent that is installed writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import parser

from tests.unit.agent.agent_config import AGENT
from tests.unit.agent.conftest import run_inside

WORLD = """
import json, sys, time
from dataclasses import replace
from herd.agent.common import engine_api
from herd.agent.supervisor import daemon, heartbeat_client, local_state, settings
from herd.core.supervision import heartbeat
from herd.core.supervision.observations import PeerObservation

agent = daemon.Agent(settings.read_settings(sys.argv[2]))
now = time.monotonic()
words = ("llama-server", "--port", "9", "--alias", 'the "72B"', "-m", "/models/m.gguf")
agent.head.unit = local_state.Unit(loaded=True, active="active", sub="running", pid=5)
agent.head.process = local_state.Process(100, "T", 1.5, words)
poller = agent.engine.poller
poller.api, poller.slots = engine_api.of(words), engine_api.Slots(True, 4, 1)
head = heartbeat.Head(
    unit="llama-head.service", active="active", sub="running", job=False, pid=5, started=100, restarts=0, release="r",
    unit_age_s=0.0, api="", health="ok", workers=("w",), lost=(), slots=4, busy=1, waiting=0, tokens_total=1,
    tokens_per_second=0.0, supervision="watching", reason="", recoveries=0, draining=False)
observed = replace(agent._heartbeat, head=head)

def show(**more):
    agent.metrics._written = (-10.0, b"")
    agent.metrics.observe(time.monotonic(), replace(observed, **more))
    sys.stdout.write(agent.metrics.text().decode())
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({**AGENT, "node": "n1"}), encoding="utf-8")
    return path


def shown(herdctl: Path, config: Path, script: str) -> dict[str, float]:
    text = run_inside(herdctl, WORLD + script, str(config))
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_head_has_its_process_model_slots_and_counters(herdctl: Path, config: Path) -> None:
    script = """
poller.counters, poller.counted_at, poller.waiting = {"n_decode_total": 7.0, "prompt_tokens_total": 90.0}, now, 2
agent.engine.supervisor.causes["hung"] += 3
show()
"""
    found = shown(herdctl, config, script)
    engine = 'llama-head.service the "72B"'
    assert found[f"herd_engine_decodes_total {engine}"] == 7
    assert found[f"herd_engine_prompt_tokens_total {engine}"] == 90
    assert f"herd_engine_generated_tokens_total {engine}" not in found
    assert (found[f"herd_engine_slots {engine}"], found[f"herd_engine_requests_waiting {engine}"]) == (4, 2)
    assert found[f"herd_model_info {engine} m.gguf"] == 1
    assert found["herd_unit_process_stopped llama-head.service"] == 1
    assert found["herd_unit_process_cpu_seconds_total llama-head.service"] == 1.5
    assert found["herd_recoveries_total llama-head.service hung"] == 3
    assert found["herd_recoveries_total llama-head.service worker"] == 0
    assert found["herd_group_worker_connected w"] == 1


def test_engine_that_does_not_answer_has_no_counters(herdctl: Path, config: Path) -> None:
    found = shown(herdctl, config, "poller.slots = engine_api.Slots()\nshow()\n")
    assert not [name for name in found if name.startswith(("herd_engine_slots", "herd_engine_decodes"))]
    assert 'herd_engine_sample_age_seconds llama-head.service the "72B"' not in found


def test_silent_peer_keeps_the_age_of_its_last_heartbeat(herdctl: Path, config: Path) -> None:
    script = """
peers = agent.followers
peers._pollers = dict.fromkeys([("w", "10.0.0.2"), ("new", "10.0.0.3")])
peers._seen["w"], peers._heard["w"] = (now, PeerObservation("silent", at=now)), now - 30
show()
"""
    found = shown(herdctl, config, script)
    assert found["herd_peer_up w"] == 0
    assert found["herd_peer_heartbeat_age_seconds w"] >= 30
    # A peer that has not been asked yet is unknown.
    assert not [name for name in found if name.endswith(" new")]


def test_old_values_of_a_hung_driver_are_left_out(herdctl: Path, config: Path) -> None:
    script = """
from herd.core.host import nvidia_smi
gpu = nvidia_smi.Gpu(0, "u", "V100S", "", "", 1, 1, 1, 1, 1, 50, 1.0, True, 0, False)
agent.gpus.report, agent.gpus.is_known = nvidia_smi.GpuReport("1", (gpu,)), True
agent.gpus.answered_at = now - AGE
show()
"""
    young = shown(herdctl, config, script.replace("AGE", "1"))
    old = shown(herdctl, config, script.replace("AGE", "61"))
    assert (young["herd_gpu_up"], young["herd_gpu_temperature_celsius 0"]) == (1, 50)
    assert old["herd_gpu_up"] == 0
    assert old["herd_gpu_sample_age_seconds"] >= 61
    assert "herd_gpu_temperature_celsius 0" not in old


def test_answer_is_used_again_for_a_second(herdctl: Path, config: Path) -> None:
    script = """
first = agent.metrics.text()
agent.metrics._written = (time.monotonic() + 60, first)
agent.metrics.observe(now, observed)
assert agent.metrics.text() is first
agent.metrics._written = (now - 2, first)
assert b"herd_group_state" in agent.metrics.text()
show()
"""
    assert shown(herdctl, config, script)
