# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway under systemd: one instance follows the other without a lost request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.scenarios.playbooks import Operator
from tests.scenarios.slurm import CONTROLLER, GATEWAY, TESTER, TIERS, Slurm, until
from tests.scenarios.streams import Answer
from tests.scenarios.tier_load import follow

PLAY = ("playbooks/slurm.yml", "--tags", "gateway")
CHANGE = ("-e", "gateway_queue_timeout=301")
INSTANCES = ("a", "b")
#: Streams that are open at the same time, and their tokens. Each engine has two slots, so most streams take minutes.
STREAMS = [*TIERS] * 5
TOKENS = 120
#: Seconds that a stream may take on a busy machine.
STREAM_S = 1500


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"), "inventory/lab_slurm")


def states(slurm: Slurm) -> dict[str, str]:
    """Return the state of each instance, as V(active)."""
    words = " ".join(f"herd-gateway@{name}" for name in INSTANCES)
    return dict(zip(INSTANCES, slurm.on(CONTROLLER, f"systemctl is-active {words}").out.split(), strict=True))


def active(slurm: Slurm) -> str:
    (found,) = (name for name, state in states(slurm).items() if state == "active")
    return found


def stream(slurm: Slurm, tier: str, tokens: int) -> Answer:
    body = {"model": "lab-llama", "stream": True, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    body["messages"] = [{"role": "user", "content": "Say hello."}]
    return slurm.ask(f"{GATEWAY[tier]}/v1/chat/completions", TESTER, body, STREAM_S, "mirror")


@contextmanager
def requests(slurm: Slurm) -> Iterator[list[int]]:
    """Send requests that need no slot of an engine, one after the other, and collect their statuses."""
    found: list[int] = []
    ends = threading.Event()

    def send() -> None:
        # Not more than the key's limit of requests per minute.
        while not ends.wait(0.5):
            answer = slurm.ask(f"{GATEWAY['fast']}/tokenize", TESTER, {"content": "Say hello."}, host="mirror")
            found.append(answer.status)

    with ThreadPoolExecutor(1) as other:
        running = other.submit(send)
        try:
            yield found
        finally:
            ends.set()
            running.result()


def test_deployment_ends_no_stream_and_refuses_no_request(serving: Slurm, operator: Operator) -> None:
    former = active(serving)
    with ThreadPoolExecutor(len(STREAMS)) as others, requests(serving) as statuses:
        streams = [others.submit(stream, serving, tier, TOKENS) for tier in STREAMS]
        until("requests beside the streams", lambda: len(statuses) > 3, 60)
        run = operator.play(*PLAY, *CHANGE)
        assert run.rc == 0, run.output
        successor = active(serving)
        assert successor != former
        # It ends with its last stream.
        if states(serving)[former] != "deactivating":
            until("the end of all streams", lambda: all(each.done() for each in streams), 30)
        # The next one waits for the streams of the first instance.
        run = operator.play(*PLAY)
        assert run.rc == 0, run.output
        assert active(serving) == former
        answers = [each.result() for each in streams]
    for answer in answers:
        assert (answer.status, answer.is_whole) == (200, True)
        assert follow(answer.text.encode().splitlines())[0] == "whole"
    assert set(statuses) == {200}
    until("the former instance to end", lambda: states(serving)[successor] == "inactive", 60)
    assert operator.play(*PLAY).calm


def test_killed_deployment_is_completed_by_the_next(serving: Slurm, operator: Operator) -> None:
    with requests(serving) as statuses:
        operator.play_and_kill(*PLAY, *CHANGE, after="TASK [herd.inference.gateway : Run one instance of the gateway")
        run = operator.play(*PLAY)
        assert run.rc == 0, run.output
    assert set(statuses) <= {200}
    assert active(serving)
    assert operator.play(*PLAY).calm


def test_changed_socket_is_started_anew_without_a_refused_request(serving: Slurm, operator: Operator) -> None:
    unit = "/etc/systemd/system/herd-gateway.socket"
    serving.sure(CONTROLLER, f"sed -i 's/^Backlog=.*/Backlog=512/' {unit}")
    with ThreadPoolExecutor(1) as others, requests(serving) as statuses:
        running = others.submit(stream, serving, "fast", 200)
        until("requests beside the stream", lambda: len(statuses) > 3, 60)
        run = operator.play(*PLAY)
        assert run.rc == 0, run.output
        assert running.result().is_whole
    assert set(statuses) == {200}
    listening = serving.sure(CONTROLLER, "ss -Hlx src unix:/run/herd-gateway/gateway.sock")
    assert listening.split()[3] == "1024"
    assert active(serving) == "a"
    assert operator.play(*PLAY).calm


def test_exactly_one_instance_starts_at_boot(slurm: Slurm) -> None:
    units = " ".join(f"herd-gateway@{name}" for name in INSTANCES)
    assert slurm.on(CONTROLLER, f"systemctl is-enabled {units}").out.split() == ["enabled", "disabled"]


def test_killed_gateway_serves_again(serving: Slurm) -> None:
    serving.sure(CONTROLLER, f"systemctl kill --signal=KILL herd-gateway@{active(serving)}")
    until("an answer", lambda: serving.chat_at("fast").status == 200, 20)
    assert active(serving)


def test_requests_are_refused_while_the_gateway_cannot_start(serving: Slurm) -> None:
    unit = f"herd-gateway@{active(serving)}"
    serving.sure(CONTROLLER, f"mv /etc/herd/gateway.json /run/ && systemctl kill --signal=KILL {unit}")
    try:
        answer = until("a refusal", lambda: (it := serving.chat_at("fast")).status == 503 and it, 20)
        assert "gateway_unavailable" in answer.text
    finally:
        serving.sure(CONTROLLER, "mv /run/gateway.json /etc/herd/")
    until("an answer", lambda: serving.chat_at("fast").status == 200, 20)
