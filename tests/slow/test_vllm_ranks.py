# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each failure of vLLM, a rank or the fabric ends the whole job with a reason. Real wrappers, a double of vLLM."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installed import install_herdctl
from tests.vllm.two_ranks import TwoRanks

Start = Callable[..., TwoRanks]
KILL, STOP, TERM, CONT = signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT


@pytest.fixture(scope="module")
def herdctl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_herdctl(tmp_path_factory.mktemp("herd"))


@pytest.fixture
def job(tmp_path: Path, herdctl: Path) -> Iterator[Start]:
    made: list[TwoRanks] = []

    def make(how: str = "", **changes: Any) -> TwoRanks:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(TwoRanks(folder, herdctl, how, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def assert_failed(job: TwoRanks, reason: str, seconds: float = 15.0) -> None:
    """All ranks end with a status, the reason is published, and no process is left."""
    assert set(job.wait(seconds).values()) == {1}
    phase, found = job.status()
    assert phase == "draining"
    assert re.search(reason, found), found
    assert not job.leftovers()


#: Rank, process, signal, and the reason that the job gives.
LOSSES = [
    (1, "VLLM::Worker", KILL, r"rank 1 on n2: (VLLM::Worker_TP1 .* has ended|vLLM has ended) without being asked"),
    (1, "vllm", KILL, "rank 1 on n2: vLLM has ended without being asked, by signal 9"),
    (1, "vllm", TERM, "rank 1 on n2: vLLM has ended without being asked, with status 0"),
    (0, "VLLM::Worker", KILL, r"rank 0 on n1: VLLM::Worker_TP0 .* has ended without being asked"),
    (0, "vllm", KILL, "rank 0 on n1: vLLM has ended without being asked, by signal 9"),
    (0, "vllm", TERM, "rank 0 on n1: vLLM has ended without being asked, with status 0"),
    (1, "VLLM::Worker", STOP, r"rank 1 on n2: VLLM::Worker_TP1 .* has been stopped"),
    (0, "VLLM::EngineCore", STOP, r"rank 0 on n1: VLLM::EngineCore .* has been stopped"),
    (0, "vllm", STOP, r"rank 0 on n1: .* has been stopped"),
]


@pytest.mark.parametrize("losses", [LOSSES[:3], LOSSES[3:6], LOSSES[6:]], ids=["rank-1", "rank-0", "stopped"])
def test_idle_job_ends_when_a_process_of_vllm_is_lost(
    job: Start, losses: list[tuple[int, str, signal.Signals, str]]
) -> None:
    # Jobs of their own, at the same time.
    jobs = [job().start() for _loss in losses]
    for one, (rank, title, number, _reason) in zip(jobs, losses):
        one.until_ready().send(rank, title, number)
    for one, loss in zip(jobs, losses):
        assert_failed(one, loss[3])


@pytest.mark.parametrize(
    ("rank", "title", "number"), [(1, "VLLM::Worker", KILL), (0, "VLLM::EngineCore", KILL), (1, "VLLM::Worker", STOP)]
)
def test_client_of_a_busy_job_is_told_when_a_process_is_lost(
    job: Start, rank: int, title: str, number: signal.Signals
) -> None:
    one = job().start().until_ready()
    stream = one.stream(1000)
    one.until(lambda: stream.count > 3)
    one.send(rank, title, number)
    assert_failed(one, "without being asked|has been stopped|no completion|ended with status 500")
    stream.thread.join(10)
    assert '"code": 500' in stream.text, stream.error
    assert "[DONE]" in stream.text


@pytest.mark.parametrize("lost", [0, 1])
def test_job_ends_when_a_wrapper_is_frozen(job: Start, lost: int) -> None:
    one = job().start().until_ready()
    one.send(lost, "wrapper", STOP)
    other = 1 - lost
    assert one.wait(15, (other,)) == {other: 1}
    assert f"rank {lost} on n{lost + 1} (127.0.0.{lost + 1}) has sent no heartbeat for" in one.log(other)
    one.send(lost, "wrapper", CONT)
    assert_failed(one, "no heartbeat")


def test_lost_wrapper_is_noticed_within_ten_seconds_with_the_limits_of_the_product(job: Start) -> None:
    one = job().start(limits={}).until_ready()
    began = time.monotonic()
    one.send(1, "wrapper", KILL)
    assert one.wait(20, (0,)) == {0: 1}
    ended = re.search(r"herd: rank 0 on n1 ends", one.log(0))
    assert ended
    # vLLM of rank 0 may lose its connection before the heartbeats are missed.
    assert re.search(r"rank 1 on n2 \(127.0.0.2\) has sent no heartbeat|rank at 127.0.0.2 was lost", one.status()[1])
    # Three seconds of farewell, and the time until the next heartbeat would have come, included.
    assert time.monotonic() - began < 14


def test_suspended_job_goes_on_when_it_is_resumed(job: Start) -> None:
    one = job().start().until_ready()
    for rank in (0, 1):
        one.send(rank, "wrapper", STOP)
    time.sleep(4)
    for rank in (0, 1):
        one.send(rank, "wrapper", CONT)
    time.sleep(2)
    assert [wrapper.poll() for wrapper in one.wrappers.values()] == [None, None]
    assert "was stopped" in one.log(0)


BAD_STARTS = [
    ("config-error", "while it started, without being asked, with status 1: .*4096"),
    ("unknown-option", "with status 2: .*--no-such-flag"),
    ("out-of-memory", "while it started.*(out of|GPU) memory"),
    ("no-completion", "completion of one token ended with status 500.*InvalidCxxCompiler"),
    ("dies-at-first-request", "status 500|no completion|EngineDeadError|has ended without being asked"),
    ("worker-dies-loading", "has ended without being asked|while it started"),
]


@pytest.mark.parametrize("starts", [BAD_STARTS[:3], BAD_STARTS[3:]], ids=["refused", "dying"])
def test_job_that_cannot_start_says_why(job: Start, starts: list[tuple[str, str]]) -> None:
    jobs = [job(how).start() for how, _reason in starts]
    for one, (_how, reason) in zip(jobs, starts):
        assert_failed(one, reason, 25.0)


def test_rank_that_never_comes_ends_the_job_before_vllm_starts(job: Start) -> None:
    one = job().start(0, limits={"join_s": 2.0})
    assert_failed(one, r"rank 1 on n2 \(127.0.0.2\) has not come within 2 seconds")
    assert "starting:" not in one.log(0)


def test_master_port_in_use_stops_the_start(job: Start) -> None:
    one = job()
    with socket.socket() as stranger:
        stranger.bind(("", one.master))
        stranger.listen()
        one.start()
        assert_failed(one, f"port {one.master} to be free for the rendezvous")
    assert "starting:" not in one.log(0)


def test_heartbeat_port_in_use_stops_the_start(job: Start) -> None:
    one = job()
    with socket.create_server(("127.0.0.1", one.facts.heartbeat_port)):
        one.start(0)
        assert one.wait() == {0: 1}
    (end,) = one.folder.read_ends()
    assert "heartbeats cannot be received at 127.0.0.1" in str(end["reason"])


def test_rank_with_another_secret_is_not_heard(job: Start) -> None:
    one = job()
    one.start(0, limits={"join_s": 4.0})
    time.sleep(1)
    one.folder.write_run(type(one.facts)(**{**vars(one.facts), "secret": "cd" * 32}))
    one.start(1, limits={"join_s": 4.0})
    assert_failed(one, "rank . on n. .* has not come within 4 seconds")
