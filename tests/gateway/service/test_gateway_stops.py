# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that crashes, hangs or stops: no cut answer looks complete, and the next one serves at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.client import IncompleteRead

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway, wait_for

STREAM = chat(60, model=REASONING_MODEL, stream=True)


@pytest.fixture(autouse=True)
def a_gateway(made: Gateway) -> Iterator[None]:
    """Leave a gateway behind that serves."""
    yield
    if "gateway" not in made.processes:
        made.start_gateway()


def test_a_crash_leaves_no_response_that_looks_complete(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    connection, answer = client.open(STREAM)
    assert answer.read(200)
    made.stop("gateway", signal.SIGKILL)
    with pytest.raises(IncompleteRead) as cut:
        answer.read()
    assert not cut.value.partial.rstrip().endswith(b"[DONE]")
    connection.close()
    made.start_gateway()
    assert client.ask(chat()).status == 200


def test_the_watchdogs_signal_ends_a_gateway_that_hangs(made: Gateway, engines: dict[str, Engine]) -> None:
    process = made.processes.pop("gateway")
    os.kill(process.pid, signal.SIGSTOP)
    process.send_signal(signal.SIGABRT)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(10) == -signal.SIGABRT


def test_requests_wait_for_the_next_gateway(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    """The socket is systemd's, so a request that comes between two gateways is answered by the next one."""
    made.stop("gateway", signal.SIGTERM)
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(client.ask(chat()).status))
    asking.start()
    asking.join(1)
    assert statuses == []
    made.start_gateway()
    asking.join(20)
    assert statuses == [200]


def test_a_stopped_gateway_takes_no_more_requests_and_ends_with_its_last_response(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    connection, answer = client.open(STREAM)
    assert answer.read(200)
    former = made.processes["gateway"]
    made.restart_gateway()
    for _each in range(4):
        assert client.ask(chat(1)).status == 200
    assert former.poll() is None
    assert answer.read().rstrip().endswith(b"data: [DONE]")
    connection.close()
    wait_for(lambda: former.poll() == 0, "the end of the former gateway", 10)


def test_a_gateway_that_cannot_start_says_why_and_refuses_at_once(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    """Without this, its clients would wait in the socket's queue."""
    made.stop("gateway", signal.SIGTERM)
    path = made.root / "gateway.json"
    settings = path.read_text(encoding="utf-8")
    path.write_text(json.dumps({"schema": 99}), encoding="utf-8")
    statuses: list[tuple[int, str]] = []

    def ask() -> None:
        answer = client.ask(chat())
        statuses.append((answer.status, answer.error["code"]))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(0.5)
    try:
        with pytest.raises(AssertionError):
            made.start_gateway(3)
        asking.join(10)
        assert statuses == [(503, "gateway_unavailable")]
        assert made.processes.pop("gateway").wait(5) != 0
    finally:
        path.write_text(settings, encoding="utf-8")


def test_a_python_without_the_library_is_refused(made: Gateway) -> None:
    """Only its parser in C is free of the known ways to smuggle requests."""
    given = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    argv = [made.gateway_python, *made.program("gateway")[1:], "--socket", str(made.root / "other.sock")]
    argv.remove("-I")
    done = subprocess.run(argv, env=given, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode != 0
    assert "parser" in done.stderr + done.stdout
