# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stalled engine: its kernel accepts and keeps connections, but nothing comes over them."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time

from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway
from tests.gateway.wire import HEAD, TOKEN, chunk, double


def test_a_stream_of_a_stalled_engine_ends(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    stalled = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": stalled})
    connection, answer = client.open(chat(7000, model=REASONING_MODEL, stream=True))
    assert answer.read(200)
    try:
        stalled.process.send_signal(signal.SIGSTOP)
        made.tiers["reasoning"]["endpoints"][0]["state"] = "draining"
        made.tiers["reasoning"] |= {"state": "draining", "reason": "its time is over"}
        made.write_tier_status()
        began = time.monotonic()
        rest = answer.read()
        # Twenty seconds in which nothing came, ten in which it was asked, and a look in between.
        assert 15 < time.monotonic() - began < 50
        last = json.loads(rest.rstrip().rsplit(b"data: ", 1)[1])
        assert last["error"]["code"] == "tier_unavailable"
        assert "its time is over" in last["error"]["message"]
        connection.close()
    finally:
        stalled.stop()
        settle(made, engines)


def test_a_request_to_a_stalled_engine_gives_503(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    stalled = made.engine(REASONING_MODEL)
    settle(made, {"reasoning": stalled})
    try:
        stalled.process.send_signal(signal.SIGSTOP)
        threading.Timer(1.0, made.unavailable, ("reasoning", "preempted", "preempted by VASP job 88")).start()
        found = client.ask(chat(20, model=REASONING_MODEL, stream=True))
        assert (found.status, found.error["herd"]["state"]) == (503, "preempted")
    finally:
        stalled.stop()
        settle(made, engines)


def test_an_engine_that_reads_a_long_prompt_is_left_alone(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    """It is not registered any more and sends nothing for half a minute, but answers health checks."""
    asked: list[float] = []

    def answer(wire: socket.socket) -> None:
        asked.append(time.monotonic())
        if len(asked) > 1:
            wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            wire.close()
            return
        wire.sendall(HEAD + chunk(TOKEN))
        time.sleep(36)
        wire.sendall(chunk(TOKEN) + b"0\r\n\r\n")

    with double(answer) as port:
        made.ready("reasoning", port, [REASONING_MODEL], job="51")
        connection, reply = client.open(chat(20, model=REASONING_MODEL, stream=True))
        made.unavailable("reasoning", "preempted", "preempted by VASP job 88")
        assert reply.read() == TOKEN * 2
        connection.close()
        # The gateway has asked it how it is.
        assert asked[-1] - asked[0] > 15
    settle(made, engines)
