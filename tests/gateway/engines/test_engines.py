# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that come and go, and services of the gateway that restart, while users ask."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import openai
import pytest

from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import ENGINE_KEY, REASONING_MODEL, Engine, Gateway, wait_for

ASK = chat(8, model=REASONING_MODEL)


class Load:
    """Users who ask all the time, and what they were answered."""

    def __init__(self, client: Client, streams: bool) -> None:
        self.client, self.streams = client, streams
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._goes_on = True

    def one(self) -> None:
        while self._goes_on:
            try:
                answer = self.client.ask({**ASK, "stream": self.streams})
            except (OSError, HTTPException) as error:
                self.answers["cut"] += 1
                self.wrong.append(repr(error))
                continue
            self.answers[str(answer.status)] += 1
            if answer.status == 200:
                whole = answer.body.rstrip().endswith(b"data: [DONE]" if self.streams else b"}")
                if not whole:
                    self.answers["ended"] += 1
                    self.wrong.append(answer.body[-300:].decode())
            else:
                self.wrong.append(answer.body.decode())
                # As a client that reads Retry-After, but less patient.
                time.sleep(0.2)

    @contextmanager
    def run(self, users: int = 4) -> Iterator[None]:
        threads = [threading.Thread(target=self.one) for _each in range(users)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._goes_on = False
            for thread in threads:
                thread.join(60)


def only(answers: Counter[str], *allowed: str) -> bool:
    return set(answers) <= set(allowed) and answers["200"] > 0


@pytest.mark.parametrize("streams", [False, True])
def test_no_request_fails_when_a_tier_moves_to_another_engine(
    client: Client, made: Gateway, engines: dict[str, Engine], streams: bool
) -> None:
    second = made.engine(REASONING_MODEL)
    load = Load(client, streams)
    try:
        with load.run():
            for turn in range(4):
                time.sleep(1.5)
                target = second if turn % 2 == 0 else engines["reasoning"]
                made.ready("reasoning", target.port, [REASONING_MODEL], job=str(10 + turn))
        assert only(load.answers, "200"), (load.answers, load.wrong[:3])
    finally:
        settle(made, engines)
        second.stop()


def test_no_request_fails_when_gateway_and_nginx_restart(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    """As a deploy does it: the socket stays, and the next instance is ready before the former one stops."""
    load = Load(client, True)
    with load.run():
        for _each in range(3):
            time.sleep(1.0)
            made.restart_gateway()
        time.sleep(0.5)
        made.reload_nginx()
        time.sleep(1.0)
    assert only(load.answers, "200"), (load.answers, load.wrong[:3])


def test_a_stream_outlives_the_process_that_started_it(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    connection, answer = client.open(chat(60, model=REASONING_MODEL, stream=True))
    assert answer.read(200)
    made.restart_gateway()
    assert client.ask(ASK).status == 200
    rest = answer.read()
    connection.close()
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert rest.count(b"data: ") > 30


def test_a_cut_stream_ends_with_an_error(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    """What the client has stays valid, and the error is one of its own library."""
    doomed = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": doomed})
    sdk = openai.OpenAI(base_url=made.url(), api_key="herd-key-of-ann", max_retries=0, timeout=60)
    pieces: list[str] = []
    asked = sdk.chat.completions.create(
        model=REASONING_MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=4000, stream=True
    )
    with pytest.raises(openai.APIError, match="ends here: preempted by VASP job 88") as cut, asked as stream:
        for chunk in stream:
            pieces.append(chunk.choices[0].delta.content or "")
            if len(pieces) == 20:
                made.unavailable("reasoning", "preempted", "preempted by VASP job 88")
                doomed.stop()
    assert cut.value.code == "tier_unavailable"
    assert len(pieces) >= 20
    after = client.ask(ASK)
    assert (after.status, after.error["herd"]["state"]) == (503, "preempted")
    settle(made, engines)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_dies_before_it_answers_gives_503(
    client: Client, made: Gateway, engines: dict[str, Engine], stream: bool
) -> None:
    doomed = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": doomed})
    threading.Timer(1.0, doomed.stop).start()
    body = chat(10, model=REASONING_MODEL, stream=stream)
    body["messages"][0]["content"] = "hello " * 7000
    answer = client.ask(body)
    assert answer.status == 503
    assert answer.error["herd"]["state"] == "failing"
    assert "ended before it answered" in answer.error["message"]
    # The tier still counts as ready. The next request gets the same error at once.
    began = time.monotonic()
    answer = client.ask({**ASK, "stream": stream})
    assert (answer.status, answer.error["code"]) == (503, "tier_unavailable")
    assert time.monotonic() - began < 3
    assert int(answer.headers["retry-after"]) > 0
    settle(made, engines)


def test_an_engine_with_another_key_is_reported(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    other = made.engine(REASONING_MODEL, key="a-key-of-its-own")
    settle(made, {"reasoning": other})
    for stream in (False, True):
        answer = client.ask({**ASK, "stream": stream})
        assert answer.status == 503
        assert "does not accept the gateway's key" in answer.error["message"]
    other.stop()
    settle(made, engines)


def test_the_gateway_follows_a_change_of_the_engine_key(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    other = made.engine(REASONING_MODEL, key="the-next-key")
    made.ready("reasoning", other.port, [REASONING_MODEL], job="77")
    (made.root / "engine-key").write_text("the-next-key\n", encoding="utf-8")
    wait_for(lambda: client.ask(ASK).status == 200, "the new key", 5)
    (made.root / "engine-key").write_text(f"{ENGINE_KEY}\n", encoding="utf-8")
    other.stop()
    settle(made, engines)
    wait_for(lambda: client.ask(ASK).status == 200, "the former key", 5)


def test_the_registry_is_used_while_the_tier_manager_is_silent(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    port = engines["reasoning"].port
    now = time.time()
    entry = made.entry("reasoning", port, [REASONING_MODEL], job_id="5", started=now - 9, heartbeat=now + 30)
    folder = made.root / "endpoints"
    (folder / "reasoning-5.json").write_text(json.dumps(entry), encoding="utf-8")
    (folder / "fast-6.json").write_text('{"schema": 1, "tier"', encoding="utf-8")
    (folder / "fast-7.json").write_text(json.dumps({**entry, "job_id": "7", "tier": "fast", "heartbeat": 9e12}))
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    made.is_silent = True
    try:
        wait_for(lambda: "is silent: using the registry" in made.log("gateway"), "the gateway notices", 20)
        wait_for(lambda: client.ask(ASK).status == 200, "the tier by its entry", 5)
        answer = client.ask(chat())
        assert answer.status == 503
        assert "the tier manager is silent" in answer.error["message"]
    finally:
        made.is_silent = False
        settle(made, engines)
    wait_for(lambda: client.ask(chat()).status == 200, "the view counts again", 5)


def test_an_idle_gateway_sleeps(made: Gateway, engines: dict[str, Engine]) -> None:
    # For a few seconds after a request the gateway expects another one.
    time.sleep(6)
    turns = turns_of_the_gateway(made)
    time.sleep(3)
    assert turns_of_the_gateway(made) - turns <= 10


def turns_of_the_gateway(made: Gateway) -> int:
    """How often the process that serves has gone to sleep."""
    status = Path(f"/proc/{made.pid}/status").read_text(encoding="utf-8")
    return int(status.split("\nvoluntary_ctxt_switches:", 1)[1].split(maxsplit=1)[0])
