# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's way, after the user's: the same model as a tier that the tier manager keeps, behind the gateway."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gateway.environments import python_of
from tests.scenarios.slurm import CONTROLLER, TESTER, Answer, until
from tests.scenarios.vllm import CLIENT, LOADED_S, VllmLab

TIER, GATEWAY = "large", "http://10.0.0.5:8082"
CLONE = Path(__file__).resolve().parents[3]
#: Seconds of the load; HERD_LOAD_S is shorter for a first try.
LOAD_S, CLIENTS = float(os.environ.get("HERD_LOAD_S") or 600), 16


@pytest.fixture(scope="module")
def tier(lab: VllmLab) -> Iterator[VllmLab]:
    """Set up the tier and the gateway, and wait until the tier is ready."""
    command = [".venv/bin/ansible-playbook", "-i", "inventory/lab_vllm", "molecule/vllm_two_nodes/tier.yml"]
    subprocess.run(command, cwd=CLONE, check=True, timeout=900)
    lab.wait_ready(TIER, LOADED_S + 120)
    yield lab
    lab.sure(CONTROLLER, f"herdctl tiers stop {TIER}")


def chat(lab: VllmLab, tokens: int = 8, stream: bool = False) -> Answer:
    body = {
        "model": "tiny",
        "max_tokens": tokens,
        "stream": stream,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    return lab.ask(f"{GATEWAY}/v1/chat/completions", TESTER, body)


def test_openai_client_gets_answers_through_the_gateway(tier: VllmLab) -> None:
    until("the gateway to know of the tier", lambda: chat(tier, 1).status == 200, 60)
    argv = ["nsenter", f"--net=/run/netns/herd-{tier.lab}", python_of("clients"), "-c", CLIENT]
    done = subprocess.run(
        [*argv, f"{GATEWAY}/v1", TESTER, "tiny"], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr


def test_gateway_takes_users_keys_only(tier: VllmLab) -> None:
    body = {"model": "tiny", "max_tokens": 1, "messages": []}
    assert tier.ask(f"{GATEWAY}/v1/chat/completions", tier.key(), body).status == 401


def test_no_request_is_lost_under_load_and_memory_stays_flat(tier: VllmLab) -> None:
    def memory() -> int:
        lines = tier.sure(CONTROLLER, "ps -C herdctl,python3 -o rss=").split()
        return sum(map(int, lines))

    end = time.monotonic() + LOAD_S
    before = memory()

    def client(_number: int) -> list[int]:
        found = []
        while time.monotonic() < end:
            found.append(chat(tier, 8, stream=True).status)
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = [status for each in pool.map(client, range(CLIENTS)) for status in each]
    print(f"{len(statuses)} requests of {CLIENTS} clients in {LOAD_S:g} s")
    assert set(statuses) == {200}
    assert memory() < before * 1.2 + 50_000


def test_lost_rank_of_the_tier_is_repaired(tier: VllmLab) -> None:
    before = tier.wait_ready(TIER)
    tier.sure("vasp-02", "pkill -KILL -u llama -f VLLM::Worker")
    until("the tier to be away", lambda: tier.ready(TIER) is None, 15)
    after = tier.wait_ready(TIER, LOADED_S + 180)
    assert after["started"] > before["started"]
    until("the gateway to serve it again", lambda: chat(tier, 1).status == 200, 30)
