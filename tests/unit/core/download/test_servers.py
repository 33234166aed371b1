# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of servers over all files, and bytes that are taken over from slow requests."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.extents import Extents
from ansible_collections.herd.inference.plugins.module_utils.core.download.identity import RemoteFile
from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import Part, Target
from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import Backoff, Pace
from ansible_collections.herd.inference.plugins.module_utils.core.download.servers import Server, Servers
from ansible_collections.herd.inference.plugins.module_utils.core.download.sources import Segment
from ansible_collections.herd.inference.plugins.module_utils.core.download.transfer import Transfer
from ansible_collections.herd.inference.plugins.module_utils.core.download.transfer_state import PartRequest
from ansible_collections.herd.inference.plugins.module_utils.core.errors import TransientFailureError

SIZE = 800
PACE = Pace(connections=4, smallest=100, largest=100, checkpoint=10**9, unsafe=10**9, block=10, progress=8, lag=2.0)


def transfer(names: str, servers: Servers, pace: Pace = PACE) -> Transfer:
    """Make a transfer whose parts are on the servers of these names."""
    segments = []
    for number, host in enumerate(names):
        url = f"http://{host}/{number}"
        segments.append(Segment(Part(url, SIZE, None), SIZE, None, '"one"', url))
    parts = tuple(segment.part for segment in segments)
    return Transfer(Target("/m.gguf", parts, sha256="0" * 64), segments, Extents(), pace, Backoff(), servers)


def begin(run: Transfer, now: float = 0.0) -> PartRequest:
    request = run.next_request(now)
    assert isinstance(request, PartRequest)
    return request


def opened(run: Transfer, request: PartRequest) -> None:
    assert run.opened(request, RemoteFile(SIZE, None, '"one"'), True)


def receive(run: Transfer, request: PartRequest, size: int, now: float) -> None:
    """Deliver bytes; end the request if they complete it."""
    wanted = run.accept(request, size, b"GGUF" if request.base + request.position == 0 else b"")
    if not run.add_written(request, wanted):
        run.closed(request, now)


def refused(pause: float | None = None) -> TransientFailureError:
    return TransientFailureError.of_content("x", "status 429", pause, overloaded=True)


def all_requests(run: Transfer, now: float) -> list[PartRequest]:
    found = []
    while isinstance(request := run.next_request(now), PartRequest):
        found.append(request)
    return found


def test_refused_request_narrows_the_whole_server() -> None:
    run = transfer("aab", Servers())
    first = begin(run)
    opened(run, first)
    others = all_requests(run, 0.0)
    on_a = [request for request in [first, *others] if "//a/" in request.url]
    assert len(on_a) == 5, "four for the first part, and one for the second, which has not shown ranges"
    for request in on_a[2:]:
        run.failed(request, refused(), 0.0)
    assert run.parts[0].addresses[0].server.width == 2
    assert all("//b/" in request.url for request in all_requests(run, 0.0)), "both parts of a share its limit"


def test_pause_of_one_request_holds_for_all_files_of_a_server() -> None:
    servers = Servers()
    run, next_file, elsewhere = transfer("aa", servers), transfer("a", servers), transfer("b", servers)
    first = begin(run)
    run.failed(first, refused(50.0), 10.0)
    assert run.next_request(10.0) == 5.0, "the longest wait of an idle worker"
    assert run.next_request(58.0) == pytest.approx(2.0)
    assert next_file.next_request(58.0) == pytest.approx(2.0)
    begin(elsewhere, 10.0)
    begin(run, 60.0)


def test_server_gets_more_requests_again_after_many_good_ones() -> None:
    server = Server()
    server.refused(2, None)
    for _response in range(16):
        assert server.width == 2
        server.completed()
    assert server.width == 3
    server.completed()
    server.refused(2, None)
    for _response in range(31):
        server.completed()
    assert server.width == 2, "twice as many as before"


def test_server_without_a_refusal_has_no_limit() -> None:
    server = Server()
    server.completed()
    assert server.width is None


def fast_and_slow(pace: Pace = PACE) -> tuple[Transfer, PartRequest]:
    """Let all requests but the first end in a second; the first has received 10 of 100 bytes."""
    run = transfer("a", Servers(), pace)
    slow = begin(run)
    opened(run, slow)
    receive(run, slow, 10, 0.0)
    now = 0.0
    while isinstance(request := run.next_request(now), PartRequest):
        opened(run, request)
        receive(run, request, 100, now + 0.1)
        now += 0.1
    assert slow.left == 90
    return run, slow


def test_last_bytes_are_taken_from_a_slow_request() -> None:
    run, slow = fast_and_slow()
    assert isinstance(run.next_request(1.9), float), "too early to judge"
    other = begin(run, 2.1)
    assert (other.start, other.end) == (10, 100)
    assert slow.is_complete
    assert run.accept(slow, 5, b"") == 0
    receive(run, other, 90, 2.2)
    assert list(run.written) == [(0, SIZE)]
    run.closed(slow, 3.0)
    assert list(run.written) == [(0, SIZE)]


def test_bytes_that_are_being_written_are_not_taken_over() -> None:
    run, slow = fast_and_slow()
    assert run.accept(slow, 20, b"") == 20
    other = begin(run, 2.1)
    assert (other.start, other.end) == (30, 100)
    assert not run.add_written(slow, 20)


def test_failure_of_a_request_without_bytes_left_changes_nothing() -> None:
    run, slow = fast_and_slow()
    begin(run, 2.1)
    run.failed(slow, TransientFailureError.of_content("x", "no byte in time"), 60.0)
    assert run.parts[0].addresses[0].failures == 0
    assert run.error is None


def test_request_that_is_nearly_as_fast_as_the_others_keeps_its_bytes() -> None:
    run, slow = fast_and_slow()
    receive(run, slow, 80, 2.0)
    run.parts[0].addresses[0].rate = 100.0
    assert isinstance(run.next_request(2.5), float), "it ends soon"


def test_each_takeover_waits_longer() -> None:
    run, _slow = fast_and_slow()
    second = begin(run, 2.1)
    opened(run, second)
    assert isinstance(run.next_request(5.0), float)
    third = begin(run, 6.2)
    assert (second.takeovers, third.takeovers) == (1, 2)
    assert isinstance(run.next_request(14.0), float)
    assert begin(run, 14.3).takeovers == 3
