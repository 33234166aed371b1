# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that breaks HTTP or the API harms its own user's request at most, and nothing of it reaches a header."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Gateway, gateway, wait_for
from tests.gateway.hostile_engine import content, framing, heads
from tests.gateway.hostile_engine.double import BEHAVIOURS, WHOLE, Exchange, HostileEngine, hostile_engine
from tests.gateway.hostile_engine.reply import StrictReply, parse
from tests.gateway.wire import KEY, in_flight, raw, request

#: Seconds within which a request ends, and those that the gateway gives an engine without progress.
BOUND_S, SLOW_BOUND_S = 10.0, 45.0
#: Seconds after which a user leaves who gets no end.
PATIENCE_S = 0.6
#: MiB by which the gateway's process may grow.
GROWTH_MIB = 150
QUICK = [name for name, each in BEHAVIOURS.items() if not each.leaves and not each.is_slow]
LEAVING = [name for name, each in BEHAVIOURS.items() if each.leaves]
SLOW = [name for name, each in BEHAVIOURS.items() if each.is_slow]
KINDS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "in one piece"])
assert content and framing and heads


def ask(mark: str, model: str, stream: bool, behaviour: str = "") -> bytes:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
    body |= {"stream": stream, "mark": mark, "behaviour": behaviour}
    return request("/v1/chat/completions", KEY, body=json.dumps(body).encode())


@dataclass
class Bystander:
    """A user of both tiers who asks honest questions all the time, and knows what he must get."""

    made: Gateway
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0
    goes_on: bool = True

    def run(self) -> None:
        for number in itertools.count():
            if not self.goes_on:
                return
            model, stream = (FAST_MODEL, REASONING_MODEL)[number % 2], number % 4 < 2
            mark = f"bystander-{number}-{model}-{stream}"
            began = time.monotonic()
            try:
                self.check(mark, parse(raw(self.made, ask(mark, model, stream), limit=BOUND_S)), stream)
            except (AssertionError, OSError, ValueError, KeyError) as error:
                self.wrong.append(f"{mark}: {error!r}")
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.01)

    def check(self, mark: str, reply: StrictReply, stream: bool) -> None:
        own = json.dumps({"choices": [], "mark": mark})
        body = f"data: {own}\n\ndata: {own}\n\ndata: [DONE]\n\n" if stream else own
        assert (reply.status, reply.is_complete) == (200, True), reply
        assert (reply.events if stream else reply.body).decode() == body, reply.body
        self.right += 1


@dataclass
class Site:
    """A gateway whose reasoning tier is hostile."""

    made: Gateway
    hostile: HostileEngine
    honest: HostileEngine
    bystander: Bystander
    pid: int
    memory: int
    marks: Iterator[int] = field(default_factory=itertools.count)

    def attack(self, behaviour: str, stream: bool, limit: float) -> tuple[str, bytes]:
        """Ask for a behaviour, and return the request's mark and all bytes that came within the limit."""
        mark = f"{behaviour}-{stream}-{next(self.marks)}"
        began = time.monotonic()
        pieces: list[bytes] = []
        with socket.create_connection(("127.0.0.1", self.made.ports["fast"]), timeout=limit) as wire:
            wire.sendall(ask(mark, REASONING_MODEL, stream, behaviour))
            with suppress(TimeoutError, ConnectionResetError):
                while (left := began + limit - time.monotonic()) > 0:
                    wire.settimeout(left)
                    piece = wire.recv(1 << 20)
                    if not piece:
                        return mark, b"".join(pieces)
                    pieces.append(piece)
        found = b"".join(pieces)
        assert BEHAVIOURS[behaviour].leaves, f"no end within {limit:g} s: {found[:200]!r} {found[-200:]!r}"
        return mark, found

    def check_answer(self, behaviour: str, stream: bool, mark: str, answer: bytes) -> None:
        reply, wanted = parse(answer), BEHAVIOURS[behaviour].outcomes
        assert reply.outcome in wanted, reply
        if wanted == {WHOLE}:
            assert (reply.events if stream else reply.body) == Exchange(socket.socket(), stream).payload
        if reply.status != 200:
            assert not reply.is_stream
        # Nothing is sent twice, and nothing to another tier.
        assert self.hostile.asked[mark] <= 1
        assert not self.honest.asked[mark]

    def check_others(self) -> None:
        """Check that nobody else noticed."""
        before = self.bystander.right
        wait_for(lambda: self.bystander.right >= before + 2, "the bystander's next answers", BOUND_S)
        assert not self.bystander.wrong, self.bystander.wrong[:3]
        assert self.bystander.longest < 3
        # The bystander's own request may be there.
        wait_for(lambda: sum(in_flight(self.made).values()) <= 1, "the end of the request", 5)
        assert self.made.processes["gateway"].poll() is None
        assert (self.made.pid, self.made.memory() - self.memory < GROWTH_MIB) == (self.pid, True)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="herd-hostile-", dir="/tmp"))
    try:
        with gateway(root) as made, hostile_engine() as hostile, hostile_engine() as honest:
            made.ready("fast", honest.port, [FAST_MODEL], slots=64)
            made.ready("reasoning", hostile.port, [REASONING_MODEL], slots=64)
            bystander = Bystander(made)
            thread = threading.Thread(target=bystander.run)
            thread.start()
            wait_for(lambda: bystander.right > 8 or bool(bystander.wrong), "the bystander's first answers")
            try:
                yield Site(made, hostile, honest, bystander, made.pid, made.memory())
            finally:
                bystander.goes_on = False
                thread.join(30)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@KINDS
@pytest.mark.parametrize("behaviour", QUICK)
def test_a_hostile_answer_ends_and_harms_nobody_else(site: Site, behaviour: str, stream: bool) -> None:
    mark, answer = site.attack(behaviour, stream, BOUND_S)
    site.check_answer(behaviour, stream, mark, answer)
    site.check_others()


@KINDS
@pytest.mark.parametrize("behaviour", LEAVING)
def test_an_answer_without_end_ends_with_its_user(site: Site, behaviour: str, stream: bool) -> None:
    _mark, answer = site.attack(behaviour, stream, PATIENCE_S)
    if answer:
        assert b"\r\n\r\n" in answer
        assert b"smuggled" not in answer
    site.check_others()


@pytest.fixture(scope="module")
def slow_answers(site: Site) -> Iterator[dict[tuple[str, bool], Future[tuple[str, bytes]]]]:
    """Ask for all behaviours that the gateway ends only after a while, at once."""
    with ThreadPoolExecutor(2 * len(SLOW)) as pool:
        yield {
            (name, stream): pool.submit(site.attack, name, stream, SLOW_BOUND_S)
            for name in SLOW
            for stream in (True, False)
        }


@KINDS
@pytest.mark.parametrize("behaviour", SLOW)
def test_an_answer_without_progress_is_ended(
    site: Site, slow_answers: dict[tuple[str, bool], Future[tuple[str, bytes]]], behaviour: str, stream: bool
) -> None:
    mark, answer = slow_answers[behaviour, stream].result()
    site.check_answer(behaviour, stream, mark, answer)
    before = site.bystander.right
    wait_for(lambda: site.bystander.right >= before + 4, "the bystander's next answers", BOUND_S)
    assert not site.bystander.wrong, site.bystander.wrong[:3]


def test_nothing_stays_of_all_this(site: Site) -> None:
    site.check_others()
    site.bystander.goes_on = False
    wait_for(lambda: not any(in_flight(site.made).values()), "the end of all requests", 5)
    # The counters took no absurd value, and each line of the log can be read.
    metrics = raw(site.made, request("/metrics", method="GET")).decode()
    lines = [line for line in metrics.splitlines() if line.startswith("herd_")]
    assert [line for line in lines if not 0 <= float(line.rpartition(" ")[2]) < 1e12] == []
    assert len(site.made.access()) >= 2 * len(BEHAVIOURS)
    assert site.bystander.right > len(BEHAVIOURS)
