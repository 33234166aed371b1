# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mixed requests to a double of an engine that counts its tokens: whole, streamed, cut, and left by the client."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from typing import Any

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, Gateway, wait_for
from tests.gateway.wire import DONE, HEAD, TOKEN, chunk, double, json_answer

KINDS = ("whole", "stream", "cut", "left")
KEYS = {"ann": "herd-key-of-ann", "lee": "herd-key-of-lee"}
#: Columns of the gateway's usage that are compared.
COLUMNS = ("requests", "cut", "prompt_tokens", "completion_tokens")
ENGINE = "the engine's count"


@dataclass
class CountingEngine:
    """A double of an engine. Its requests say what it does, and it counts the tokens that it sends.

    :ivar counts: requests and tokens by name.
    """

    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _local: threading.local = field(default_factory=threading.local)

    def hear(self, request: bytes) -> None:
        self._local.asked = json.loads(request.partition(b"\r\n\r\n")[2])

    def count(self, **numbers: int) -> None:
        with self._lock:
            self.counts.update(numbers)

    def answer(self, wire: socket.socket) -> None:
        """Answer a request as it says, and close the connection."""
        asked = self._local.asked
        kind, tokens, prompt = asked["kind"], int(asked["max_tokens"]), int(asked["prompt_tokens"])
        usage = {"usage": {"prompt_tokens": prompt, "completion_tokens": tokens}}
        is_cut = kind in ("cut", "left")
        self.count(requests=1, cut=int(is_cut), completion_tokens=tokens, prompt_tokens=0 if is_cut else prompt)
        if kind == "whole":
            wire.sendall(json_answer({"choices": [{"message": {"content": "x" * tokens}}], **usage}))
        else:
            wire.sendall(HEAD + chunk(TOKEN) * tokens)
        if kind == "stream":
            last = b"data: " + json.dumps({"choices": [], **usage}).encode() + b"\n\n"
            wire.sendall(chunk(last) + chunk(DONE) + b"0\r\n\r\n")
        elif kind == "left":
            # Until the gateway has closed the connection.
            wire.recv(1)
        wire.close()


def ask(client: Client, number: int, seed: int) -> None:
    """Send one request, and read its response as its kind says."""
    chosen = random.Random(seed * 100_000 + number)
    kind = KINDS[number % len(KINDS)]
    tokens = chosen.randint(1, 40)
    body = chat(tokens, model=REASONING_MODEL, stream=kind != "whole", kind=kind, prompt_tokens=chosen.randint(1, 500))
    connection, answer = client.open(body, tier="reasoning", key=KEYS[chosen.choice(sorted(KEYS))])
    assert answer.status == 200
    if kind == "left":
        data = b""
        while data.count(TOKEN) < tokens:
            data += answer.read1(65536)
        answer.close()
    else:
        try:
            answer.read()
        except HTTPException as error:
            assert kind == "cut", error
    connection.close()


def stored(made: Gateway) -> dict[str, int]:
    """Return the sums of all usage."""
    with closing(sqlite3.connect(f"file:{made.root}/usage.sqlite3?mode=ro", uri=True, timeout=20)) as connection:
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in COLUMNS)
        row: tuple[Any, ...] = connection.execute(f"SELECT {sums} FROM hours").fetchone()
    return dict(zip(COLUMNS, map(int, row)))


def check_usage_adds_up(made: Gateway, client: Client, count: int) -> None:
    """Send requests in five parts. The gateway is restarted within two of them, and killed after another one."""
    engine = CountingEngine()
    before = stored(made)

    def added() -> dict[str, int]:
        return {name: number - before[name] for name, number in stored(made).items()}

    def is_counted(requests: int) -> bool:
        return engine.counts["requests"] == added()["requests"] == requests

    with double(engine.answer, engine.hear) as port:
        made.ready("reasoning", port, [REASONING_MODEL], job="41", slots=1000)
        done = 0
        for part in range(5):
            numbers = range(count * part // 5, count * (part + 1) // 5)
            with ThreadPoolExecutor(8) as users:
                asked = [users.submit(ask, client, number, part) for number in numbers]
                if part % 2:
                    made.restart_gateway()
                for each in asked:
                    each.result(120)
            done += len(numbers)
            wait_for(partial(is_counted, done), "the usage of every request", 60)
            if part == 2:
                killed = made.processes.pop("gateway")
                killed.kill()
                killed.wait()
                made.start_gateway()
    assert added() == {name: engine.counts[name] for name in COLUMNS}
