# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's way, after the user's: the same model as a tier that the tier manager keeps, behind the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.environments import python_of
from tests.scenarios.slurm import CONTROLLER, TESTER, until
from tests.scenarios.streams import Answer
from tests.scenarios.vllm import CLIENT, LOADED_S, NODES, VllmLab

TIER, GATEWAY = "large", "http://10.0.0.5:8082"
CLONE = Path(__file__).resolve().parents[3]
#: Seconds of the load; HERD_LOAD_S is shorter for a first try.
LOAD_S, CLIENTS = float(os.environ.get("HERD_LOAD_S") or 600), 16
#: Clients that each send one request after the other, and count the answers. A complete stream is an answer.
LOAD = """
import collections, http.client, json, sys, threading, time, urllib.parse
place, key, model = urllib.parse.urlsplit(sys.argv[1]), *sys.argv[2:4]
clients, end, answers = int(sys.argv[4]), time.monotonic() + float(sys.argv[5]), collections.Counter()
question = [{"role": "user", "content": "Say hello."}]
body = json.dumps({"model": model, "max_tokens": 8, "ignore_eos": True, "stream": True, "messages": question})
headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
def client():
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            is_whole = text.rstrip().endswith("data: [DONE]") and '"error"' not in text
            found = str(answer.status) if is_whole else f"{answer.status}: {text[-200:]}"
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            found = repr(error)
        answers[found] += 1
threads = [threading.Thread(target=client) for _number in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(answers))
"""


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


def memory(lab: VllmLab) -> dict[str, int]:
    """Return the KiB of the gateway and the tier manager, and of the whole job on each node."""
    found = {CONTROLLER: lab.sure(CONTROLLER, "ps -C herdctl,python3 -o rss=")}
    found.update({node: lab.sure(node, "ps -u llama -o rss=") for node in NODES})
    return {host: sum(map(int, text.split())) for host, text in found.items()}


def test_no_request_is_lost_under_load_and_memory_stays_flat(tier: VllmLab) -> None:
    argv = ["nsenter", f"--net=/run/netns/herd-{tier.lab}", sys.executable, "-c", LOAD, GATEWAY, TESTER, "tiny"]
    clients = subprocess.Popen([*argv, str(CLIENTS), str(LOAD_S)], stdout=subprocess.PIPE, text=True)
    # The first requests take memory that stays.
    time.sleep(LOAD_S / 5)
    before = memory(tier)
    time.sleep(LOAD_S * 3 / 5)
    after = memory(tier)
    answered = json.loads(clients.communicate(timeout=LOAD_S + 120)[0])
    print(f"{answered} of {CLIENTS} clients in {LOAD_S:g} s; KiB {before}, later {after}")
    assert set(answered) == {"200"}
    assert answered["200"] > CLIENTS
    for host, size in after.items():
        assert size < before[host] * 1.05 + 20_000, host


def test_lost_rank_of_the_tier_is_repaired(tier: VllmLab) -> None:
    before = tier.wait_ready(TIER)
    tier.sure("vasp-02", "pkill -KILL -u llama -f VLLM::Worker")
    until("the tier to be away", lambda: tier.ready(TIER) is None, 15)
    after = tier.wait_ready(TIER, LOADED_S + 180)
    assert after["started"] > before["started"]
    until("the gateway to serve it again", lambda: chat(tier, 1).status == 200, 30)
