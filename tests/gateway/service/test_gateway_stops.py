# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that crashes or hangs leaves no process behind, and no cut answer looks complete."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway, wait_for

STREAM = chat(150, model=REASONING_MODEL, stream=True)


def child_of(made: Gateway) -> int:
    """The child process that serves; systemd only knows its parent."""
    first = made.processes["gateway"].pid
    (child,) = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="ascii").split()
    return int(child)


def lives(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def listens_still(pid: int, made: Gateway) -> bool:
    """Return whether a process accepts connections on the socket that systemd gave it as file 3."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/fd/3").readlink() == Path(f"/proc/self/fd/{made.sockets[0].fileno()}").readlink()
    return False


@pytest.fixture
def child(made: Gateway) -> Iterator[int]:
    found = child_of(made)
    yield found
    if lives(found):
        with suppress(ProcessLookupError):
            os.kill(found, signal.SIGKILL)
    if "gateway" not in made.processes:
        made.start_gateway()


def test_the_child_finishes_its_responses_when_its_parent_is_killed(
    client: Client, made: Gateway, engines: dict[str, Engine], child: int
) -> None:
    connection, answer = client.open(STREAM)
    assert answer.read(200)
    assert listens_still(child, made)
    made.stop("gateway", signal.SIGKILL)
    wait_for(lambda: not listens_still(child, made), "the former gateway's leave", 5)
    made.start_gateway()
    rest = answer.read()
    connection.close()
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert client.ask(chat()).status == 200
    assert lives(child_of(made))


def test_the_watchdog_ends_parent_and_child(made: Gateway, child: int) -> None:
    """systemd's watchdog sends SIGABRT to the parent only."""
    os.kill(child, signal.SIGSTOP)
    made.stop("gateway", signal.SIGABRT)
    wait_for(lambda: not lives(child), "the end of what hung", 5)


def test_a_crash_leaves_no_response_that_looks_complete(
    client: Client, made: Gateway, engines: dict[str, Engine], child: int
) -> None:
    connection, answer = client.open(STREAM)
    assert answer.read(200)
    process = made.processes.pop("gateway")
    os.kill(child, signal.SIGKILL)
    # The first process ends too, so that systemd begins another gateway.
    assert process.wait(10) == 1
    with pytest.raises(IncompleteRead) as cut:
        answer.read()
    assert not cut.value.partial.rstrip().endswith(b"[DONE]")
    connection.close()
    made.start_gateway()
    assert client.ask(chat()).status == 200
