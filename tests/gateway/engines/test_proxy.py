# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams that the gateway proxies: kept connections, slow clients, dead hosts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time

import pytest

from tests.engine.builds import binaries
from tests.engine.flag_runs import NEW
from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import ENGINE_KEY, REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.wire import HEAD, double, other_host
from tests.models.lab_model import lab_model_file

STREAM = chat(4, model=REASONING_MODEL, stream=True)
EVENT = b'data: {"choices":[]}\n\n'
ANSWER = HEAD + b"%x\r\n%s\r\n" % (len(EVENT), EVENT) + b"0\r\n\r\n"


@pytest.mark.parametrize("pause", [0.0, 0.2], ids=["at once", "later"])
def test_bytes_after_a_response_are_dropped(
    client: Client, made: Gateway, engines: dict[str, Engine], pause: float
) -> None:
    other = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nof-somebody!"

    def answer(wire: socket.socket) -> None:
        if pause:
            wire.sendall(ANSWER)
            time.sleep(pause)
            wire.sendall(other)
        else:
            wire.sendall(ANSWER + other)

    with double(answer) as port:
        made.ready("reasoning", port, [REASONING_MODEL], job="31")
        for _each in range(8):
            found = client.ask(STREAM)
            assert (found.status, found.body) == (200, EVENT)
            time.sleep(pause * 2)
    settle(made, engines)


def test_a_slow_client_slows_its_engine_down(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    """The gateway buffers little."""
    piece = b"data: " + b"x" * 65524 + b"\n\n"
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    pieces = 1024
    sent: list[int] = []

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD)
        for _each in range(pieces):
            wire.sendall(chunk)
            sent.append(len(chunk))
        wire.sendall(b"0\r\n\r\n")

    with double(answer) as port:
        made.ready("reasoning", port, [REASONING_MODEL], job="32")
        connection, reply = client.open(STREAM)
        assert reply.status == 200
        before = -1
        while before != len(sent):
            before = len(sent)
            time.sleep(0.5)
        # What the kernel's buffers of three connections hold.
        assert sum(sent) < 40 << 20
        assert len(reply.read()) == pieces * len(piece)
        connection.close()
    settle(made, engines)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make another host")
def test_a_stream_ends_when_its_host_loses_power(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    """The connection is never closed: without keep-alive probes the client would wait for ever."""
    (made.root / "keys-down").write_text(f"{ENGINE_KEY}\n", encoding="utf-8")
    log = made.root / "engine-down.log"
    server = [str(binaries(NEW) / "llama-server"), "--port", "8080", "-t", "1", "-c", "8192"]
    server += [
        "--api-key-file",
        str(made.root / "keys-down"),
        "-m",
        str(lab_model_file()),
        "--alias",
        REASONING_MODEL,
    ]
    with other_host() as (address, there), log.open("wb") as out:
        process = subprocess.Popen(there(*server, "--host", address), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            wait_for(lambda: "listening on http" in log.read_text(errors="replace"), f"the engine ({log})", 60)
            made.ready("reasoning", 8080, [REASONING_MODEL], job="33", address=address)
            connection, reply = client.open(chat(7000, model=REASONING_MODEL, stream=True))
            assert reply.status == 200, reply.read()
            assert reply.read(200)
            subprocess.run(there("ip", "link", "set", "eth0", "down"), check=True)
            began = time.monotonic()
            rest = reply.read()
            assert time.monotonic() - began < 40
            last = json.loads(rest.rstrip().rsplit(b"data: ", 1)[1])
            assert last["error"]["code"] == "tier_unavailable"
            connection.close()
        finally:
            process.kill()
            process.wait()
            settle(made, engines)
