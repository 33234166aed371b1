# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent decides, second by second, from observations that are written down here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import Heartbeat, Hold, Worker
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.supervisor import (
    LOG,
    PROBE,
    RESTART,
    Action,
    Backoff,
    HeadObservation,
    PeerObservation,
    ProbeResult,
    RecoveryLimits,
    Supervisor,
    WorkerMonitor,
    WorkerObservation,
)
from tests.unit.core.supervision.test_heartbeat import WORKER

A, B = "vllm-node2", "vllm-node3"
LINKS = {A: ("10.100.0.31:40112",), B: ("10.100.0.31:40113",)}
RUNNING = HeadObservation(
    active="active",
    sub="running",
    pid=77,
    started=600,
    release=WORKER.release,
    health="ok",
    links=LINKS,
    slots_known=True,
    busy=0,
    progress="0",
)
STOPPED = HeadObservation(active="inactive", sub="dead")
AUTO_RESTART = HeadObservation(active="activating", sub="auto-restart")
IN_START_PRE = HeadObservation(active="activating", sub="start-pre")
LOADING = replace(RUNNING, pid=78, started=900, health="loading", links={A: (), B: ()}, slots_known=False)
SILENT, REFUSED = PeerObservation("silent"), PeerObservation("refused", detail="connection refused")
BAD = PeerObservation("bad", detail="HTTP status 500")


class Group:
    """Head and workers over time: one step every half second, with what was set before."""

    def __init__(self, limits: RecoveryLimits | None = None) -> None:
        self.supervisor = Supervisor(limits or RecoveryLimits())
        self.now, self.sequence = 1000.0, 0
        self.head = RUNNING
        self.workers: dict[str, Worker] = {n: replace(WORKER, pid=i, clients=LINKS[n]) for i, n in ((101, A), (102, B))}
        self.boots = {A: "boot-a", B: "boot-b"}
        self.instead: dict[str, PeerObservation] = {}
        self.holds: dict[str, Hold] = {}
        self.hold = ""
        self.done: list[tuple[float, Action]] = []

    def observation(self, name: str) -> PeerObservation:
        heartbeat = Heartbeat(
            name, "run", self.sequence, self.boots[name], 1.0, hold=self.holds.get(name), worker=self.workers[name]
        )
        return self.instead.get(name, PeerObservation("heartbeat", heartbeat))

    def step(self, seconds: float = 0.5, probe: ProbeResult | None = None) -> list[Action]:
        self.now += seconds
        self.sequence += 1
        seen = {name: self.observation(name) for name in self.head.links} if self.head.links else {}
        actions = self.supervisor.step(self.now, self.head, seen, self.hold, probe)
        self.done += [(self.now, action) for action in actions]
        return actions

    def run(self, seconds: float) -> list[Action]:
        """Let time pass."""
        return [action for _each in range(round(seconds / 0.5)) for action in self.step()]

    def restarts(self) -> list[str]:
        return [action.reason for _when, action in self.done if action.kind == "restart"]

    def said(self) -> list[str]:
        return [action.reason for _when, action in self.done if action.kind == "log"]


@pytest.fixture
def group() -> Group:
    found = Group()
    found.run(5)
    assert found.said() == ["the head runs as process 77", "the head serves"]
    assert found.supervisor.state == "watching"
    return found


def lose(group: Group, name: str = A) -> None:
    group.head = replace(group.head, links={**group.head.links, name: ()})


def change(group: Group, name: str = A, **values: Any) -> None:
    group.workers[name] = replace(group.workers[name], **values)


def restarted(group: Group) -> None:
    """Another process of the worker, which the head's connection, to its host's mind still there, does not reach."""
    change(group, pid=205, started=9000, clients=())


def rebooted(group: Group) -> None:
    restarted(group)
    group.boots[A] = "boot-a2"


def died(group: Group) -> None:
    lose(group)
    change(group, pid=0, started=0, active="activating", sub="auto-restart", clients=())


def came_back(group: Group) -> None:
    lose(group)
    restarted(group)


def power_loss(group: Group) -> None:
    group.instead[A] = SILENT


@pytest.mark.parametrize(
    ("happens", "within", "reason"),
    [
        (lose, 1.0, "the head has no connection to vllm-node2: its worker closed it"),
        (died, 1.0, "the head has no connection to vllm-node2: its worker is activating (auto-restart)"),
        (came_back, 1.0, "the head has no connection to vllm-node2: its worker was restarted, process 101 is now 205"),
        (restarted, 2.0, "vllm-node2 knows nothing of the head's connection: its worker was restarted"),
        (rebooted, 2.0, "vllm-node2 knows nothing of the head's connection: its host was started again"),
        (power_loss, 6.5, "vllm-node2 has not answered for 6 seconds: its host or the fabric is away"),
    ],
)
def test_a_lost_worker_restarts_the_head(
    group: Group, happens: Callable[[Group], None], within: float, reason: str
) -> None:
    happens(group)
    group.run(within)
    assert len(group.restarts()) == 1
    assert group.restarts()[0].startswith(reason)
    assert f"noticed: {group.restarts()[0]}" in group.said()
    assert group.supervisor.state == "recovering"


def test_both_workers_at_once_are_one_recovery(group: Group) -> None:
    lose(group, A)
    lose(group, B)
    group.step()
    group.step()
    assert len(group.restarts()) == 1
    assert A in group.restarts()[0]
    assert B in group.restarts()[0]


def wait_for_workers(group: Group) -> None:
    group.head = IN_START_PRE
    group.run(20)
    group.head = LOADING
    group.run(60)


def test_a_whole_recovery_is_told(group: Group) -> None:
    died(group)
    group.run(1)
    wait_for_workers(group)
    restarted(group)
    change(group, clients=LINKS[A])
    group.head = replace(RUNNING, pid=78, started=900)
    group.run(5)
    assert len(group.restarts()) == 1
    assert group.said()[-1].startswith("the head serves, 80.")
    assert group.said()[-1].endswith(" seconds after it was noticed")
    assert group.supervisor.state == "watching"
    assert group.supervisor.recoveries == 1


def nothing(_group: Group) -> None:
    """All is well."""


def torn_table(group: Group) -> None:
    whole = group.head
    lose(group)
    group.step()
    group.head = whole


def agent_dies(group: Group) -> None:
    group.instead[A] = REFUSED


def agent_hangs(group: Group) -> None:
    """Its main thread hangs, for instance in the kernel; the one that gives heartbeats gives the last one."""
    group.instead[A] = group.observation(A)


def agent_hangs_in_systemd(group: Group) -> None:
    """A worker whose systemd says nothing: heartbeats go on, with what was last said of the unit."""
    change(group, unit_age_s=900.0)


def process_ends_before_systemd_says_so(group: Group) -> None:
    group.head = replace(RUNNING, pid=0)


def nonsense(group: Group) -> None:
    group.instead[A] = BAD


def short_cut(group: Group) -> None:
    power_loss(group)
    group.run(5)
    del group.instead[A]


def stopped_by_hand(group: Group) -> None:
    group.head = replace(RUNNING, job=True)
    group.step()
    group.head = STOPPED
    group.instead[A] = SILENT


def restarted_by_a_playbook(group: Group) -> None:
    group.head = replace(RUNNING, job=True)
    restarted(group)


def slow_load(group: Group) -> None:
    """Over a slow network, or from a slow disk."""
    group.head = LOADING
    for name in (A, B):
        change(group, name, clients=())
    compute(group, 1200, 0.01)
    group.head = replace(RUNNING, pid=78, started=900)
    for name in (A, B):
        change(group, name, clients=LINKS[name])


def long_prompt(group: Group) -> None:
    """Slots answer between the parts of the prompt, each of which takes long."""
    for part in range(20):
        group.head = replace(RUNNING, busy=1, slots_known=None)
        group.run(100)
        group.head = replace(RUNNING, busy=1, progress=f"part {part}")
        group.step()


def short_links_while_it_loads(group: Group) -> None:
    """The engine opens and closes connections before it allocates, and one look may see one of them."""
    for port in range(5):
        group.head = replace(LOADING, links={A: (f"10.100.0.31:{50000 + port}",), B: ()})
        group.step()
        group.head = LOADING
        group.run(10)
    group.head = replace(RUNNING, pid=LOADING.pid, started=LOADING.started)


def silence_with_tokens(group: Group) -> None:
    group.instead[A] = SILENT
    for count in range(100):
        group.head = replace(RUNNING, busy=1, progress=f"token {count}")
        group.run(2)


def tokens_while_a_heartbeat_is_blocked(group: Group) -> None:
    silence_with_tokens(group)
    group.run(600)


def asleep(group: Group) -> None:
    group.head = replace(RUNNING, may_sleep=True, links={A: (), B: ()})
    for name in (A, B):
        change(group, name, clients=())


def held(group: Group) -> None:
    group.hold = "by hand"
    died(group)


def held_on_the_worker(group: Group) -> None:
    group.holds[A] = Hold("by hand", 600.0)
    died(group)


def host_slept(group: Group) -> None:
    power_loss(group)
    group.run(4)
    group.step(3600)
    del group.instead[A]


def clock_went_back(group: Group) -> None:
    power_loss(group)
    group.step(-500)
    del group.instead[A]


@pytest.mark.parametrize(
    "happens",
    [
        nothing,
        torn_table,
        agent_dies,
        agent_hangs,
        agent_hangs_in_systemd,
        process_ends_before_systemd_says_so,
        nonsense,
        short_cut,
        stopped_by_hand,
        restarted_by_a_playbook,
        slow_load,
        long_prompt,
        short_links_while_it_loads,
        silence_with_tokens,
        tokens_while_a_heartbeat_is_blocked,
        asleep,
        held,
        held_on_the_worker,
        host_slept,
        clock_went_back,
    ],
    ids=lambda happens: happens.__name__,
)
def test_no_false_alarm(group: Group, happens: Callable[[Group], None]) -> None:
    happens(group)
    group.run(300)
    assert group.restarts() == []


def test_a_link_that_was_there_while_it_loads_and_is_gone(group: Group) -> None:
    group.head = replace(LOADING, links=LINKS)
    group.run(2)
    group.head = LOADING
    group.run(1)
    assert group.restarts()[0].startswith("the head has no connection to vllm-node2")


@pytest.mark.parametrize("known", [None, False])
def test_what_does_not_answer_is_no_sign_of_life(group: Group, known: bool | None) -> None:
    """A head whose slots and counters time out looks other than before, and has made no token."""
    power_loss(group)
    group.run(5)
    group.head = replace(RUNNING, slots_known=known, busy=-1, progress=" -1")
    group.run(3)
    assert [reason.partition(":")[0] for reason in group.restarts()] == ["vllm-node2 has not answered for 6 seconds"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_completion_that_did_not_come_is_no_sign_of_life(group: Group, asked: bool) -> None:
    group.head = replace(group.head, busy=1)
    group.run(200)
    power_loss(group)
    group.run(5)
    group.head = replace(RUNNING, busy=1) if asked else group.head
    group.step(probe=ProbeResult(False, "no key", asked=asked))
    group.run(3)
    assert len(group.restarts()) == 1


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (agent_dies, "the agent of vllm-node2 is away"),
        (agent_hangs, "the agent of vllm-node2 hangs: it says the same again"),
        (nonsense, "the agent of vllm-node2 makes no sense (HTTP status 500)"),
        (stopped_by_hand, "the head's unit is inactive: it was stopped, and stays so"),
        (held, "held: by hand"),
        (held_on_the_worker, "held on vllm-node2 (by hand)"),
        (host_slept, "this agent did not run for 3600 seconds"),
    ],
)
def test_what_it_leaves_alone_is_said_once(group: Group, happens: Callable[[Group], None], words: str) -> None:
    happens(group)
    group.run(100)
    assert len([said for said in group.said() if said.startswith(words)]) == 1


def test_the_end_of_a_hold_ends_the_patience(group: Group) -> None:
    held(group)
    group.run(60)
    group.hold = ""
    group.run(2)
    assert len(group.restarts()) == 1


def test_a_head_that_ends_by_itself_is_noticed_and_left_to_systemd(group: Group) -> None:
    group.head = AUTO_RESTART
    group.run(5)
    wait_for_workers(group)
    group.head = replace(RUNNING, pid=78, started=900)
    group.run(2)
    assert group.restarts() == ["its process has ended"]
    assert "noticed: the head's process has ended; systemd starts it again" in group.said()
    assert "seconds after it was noticed" in group.said()[-1]


def test_a_head_whose_systemd_is_late_is_not_said_to_be_stopped(group: Group) -> None:
    process_ends_before_systemd_says_so(group)
    group.run(30)
    assert group.said()[-1] == "the head serves"
    group.head = AUTO_RESTART
    group.step()
    assert group.restarts() == ["its process has ended"]


def test_a_head_that_ends_on_a_held_node_is_left_to_systemd_alone(group: Group) -> None:
    group.hold = "by hand"
    group.head = AUTO_RESTART
    group.run(5)
    assert group.restarts() == []


def test_a_missing_connection_counts_in_a_head_that_never_had_one() -> None:
    """An engine that goes on without a worker, as old releases do."""
    group = Group()
    lose(group)
    change(group, clients=())
    group.run(2)
    assert len(group.restarts()) == 1


def test_silence_counts_once_for_a_head(group: Group) -> None:
    """A firewall in front of the agent: the head comes back well, so it was not the worker."""
    power_loss(group)
    group.run(10)
    group.head = replace(RUNNING, pid=78, started=900)
    group.run(600)
    assert len(group.restarts()) == 1


def test_an_answer_that_is_looked_at_again_and_again_is_silence(group: Group) -> None:
    """The thread that asks hangs in a conversation with a host that has frozen."""
    group.instead[A] = replace(group.observation(A), at=group.now)
    group.run(5.5)
    assert group.restarts() == []
    group.run(4.5)
    assert group.restarts() == ["vllm-node2 has not answered for 6 seconds: its host or the fabric is away"]


def test_silence_is_counted_from_the_answer_on(group: Group) -> None:
    group.instead[A] = replace(group.observation(A), at=group.now)
    group.run(3)
    group.instead[A] = SILENT
    group.run(3.5)
    assert len(group.restarts()) == 1


def suspicious(slots_known: bool | None, busy: int) -> HeadObservation:
    return replace(RUNNING, slots_known=slots_known, busy=busy)


@pytest.mark.parametrize(
    ("slots_known", "busy", "after"),
    [(None, 1, 180), (True, 1, 180), (True, 0, 900)],
    ids=["its slots do not answer", "busy and makes nothing", "idle"],
)
@pytest.mark.parametrize("answered", [True, False])
def test_a_head_that_may_be_hung_is_asked(
    group: Group, slots_known: bool | None, busy: int, after: float, answered: bool
) -> None:
    group.head = suspicious(slots_known, busy)
    assert not [action for action in group.run(after - 10) if action.kind == "probe"]
    assert len([action for action in group.run(20) if action.kind == "probe"]) == 1
    assert not [action for action in group.run(100) if action.kind == "probe"]
    group.step(probe=ProbeResult(answered, "none within 120 seconds"))
    assert len(group.restarts()) == (0 if answered else 1)


def test_a_token_meanwhile_saves_a_head_that_did_not_answer_the_probe(group: Group) -> None:
    group.head = suspicious(True, 1)
    group.run(200)
    group.head = replace(group.head, progress="1")
    group.step()
    group.step(probe=ProbeResult(False, "none"))
    assert group.restarts() == []


def test_a_head_that_cannot_be_asked_is_left_alone_and_asked_again(group: Group) -> None:
    group.head = suspicious(True, 1)
    for probed in (1, 2):
        group.run(200)
        assert len(probes(group)) == probed
        group.step(probe=ProbeResult(False, "no key", asked=False))
    assert group.restarts() == []
    assert [said for said in group.said() if "no key" in said] == ["no completion can be asked for: no key"]


def test_idle_heads_are_not_asked_where_nobody_wants_that() -> None:
    group = Group(RecoveryLimits(idle_probe_s=0))
    assert not [action for action in group.run(3000) if action.kind == "probe"]


def compute(group: Group, seconds: float, share: float) -> None:
    """Time in which the head's process uses this share of a processor."""
    for _each in range(round(seconds / 0.5)):
        group.head = replace(group.head, cpu_s=group.head.cpu_s + 0.5 * share)
        group.step()


def probes(group: Group) -> list[str]:
    return [action.reason for _when, action in group.done if action.kind == "probe"]


@pytest.mark.parametrize(
    ("health", "share", "asked_after"),
    [
        ("silent", 0.0, 60),
        ("refused", 0.0, 60),
        # What clients cost that wait: they look once a second whether there is an answer.
        ("silent", 0.0005, 60),
        ("silent", 0.5, 1800),
        ("silent", 0.01, 1800),
        ("loading", 0.01, 0),
        ("ok", 0.0, 0),
    ],
)
def test_a_head_whose_api_says_nothing_is_asked(group: Group, health: str, share: float, asked_after: float) -> None:
    group.head = replace(group.head, health=health, slots_known=None if health == "ok" else False, busy=-1)
    if not asked_after:
        compute(group, 170, share)
        assert probes(group) == []
        return
    compute(group, asked_after - 1, share)
    assert probes(group) == []
    assert group.supervisor.state == "mute"
    compute(group, 15, share)
    word = "closed" if health == "refused" else "silent"
    assert [reason.partition(" for ")[0] for reason in probes(group)] == [f"its API has been {word}"]
    assert group.restarts() == []
    group.step(probe=ProbeResult(False, "none within 120 seconds"))
    assert group.restarts()[0].startswith(f"the head is hung: its API has been {word} for ")


@pytest.mark.parametrize("health", ["silent", "refused"])
def test_an_api_that_was_never_heard_is_at_another_address(health: str) -> None:
    group = Group()
    group.head = replace(RUNNING, health=health, slots_known=False)
    group.run(4000)
    assert (probes(group), group.restarts()) == ([], [])


def test_an_api_that_speaks_again_is_left_alone(group: Group) -> None:
    group.head = replace(group.head, health="silent")
    group.run(70)
    assert len(probes(group)) == 1
    group.head = RUNNING
    group.step()
    group.step(probe=ProbeResult(False, "none within 120 seconds"))
    assert group.restarts() == []
    assert group.supervisor.state == "watching"
    # A silence of its own begins anew.
    group.head = replace(group.head, health="silent")
    group.run(50)
    assert len(probes(group)) == 1


def test_an_answer_in_the_silence_is_an_answer(group: Group) -> None:
    group.head = replace(group.head, health="silent")
    group.run(70)
    group.step(probe=ProbeResult(True, "1.00 seconds"))
    group.run(50)
    assert (len(probes(group)), group.restarts()) == (1, [])


@pytest.mark.parametrize(("share", "restarts"), [(0.0, 1), (0.0005, 1), (0.01, 0)])
def test_a_head_that_loads_for_ever_is_restarted(share: float, restarts: int) -> None:
    group = Group()
    group.head = LOADING
    compute(group, 170, share)
    assert group.restarts() == []
    compute(group, 25, share)
    assert len(group.restarts()) == restarts


def test_a_silence_that_the_agent_slept_through_is_none(group: Group) -> None:
    group.head = replace(group.head, health="silent")
    group.run(50)
    group.step(400)
    group.run(50)
    assert probes(group) == []


@pytest.mark.parametrize("health", ["silent", "refused", "loading"])
def test_a_head_under_a_debugger_is_left_alone(group: Group, health: str) -> None:
    group.head = replace(group.head, state="t", health=health, slots_known=False)
    group.run(4000)
    assert (probes(group), group.restarts()) == ([], [])


def test_a_stopped_head_is_restarted(group: Group) -> None:
    group.head = replace(group.head, state="T", health="silent", slots_known=None)
    group.run(4)
    assert group.restarts() == ["the head's process 77 has been stopped for 3 seconds"]


@pytest.mark.parametrize("busy", [0, 1])
def test_another_release_is_drained_once(group: Group, busy: int) -> None:
    group.head = replace(group.head, busy=busy)
    change(group, release="b7836-cpu-5f1c20ab")
    group.step()
    if busy:
        assert group.supervisor.state == "draining"
        for count in range(118):
            group.head = replace(group.head, progress=str(count))
            group.run(1)
        assert group.restarts() == []
    group.run(2)
    assert [action.gently for _when, action in group.done if action.kind == "restart"] == [True]
    assert "runs release b7836" in group.restarts()[0]
    group.head = replace(RUNNING, pid=78, started=900)
    group.run(300)
    assert len(group.restarts()) == 1


def flap(group: Group, minutes: float) -> list[float]:
    """Every head that starts loses a worker a second later."""
    pid = 100
    for _each in range(round(minutes * 60 / 3)):
        pid += 1
        group.head = replace(RUNNING, pid=pid, started=pid)
        group.run(1)
        lose(group)
        group.run(2)
    return [when for when, action in group.done if action.kind == "restart"]


def test_flapping_slows_down_and_never_ends(group: Group) -> None:
    times = flap(group, 60)
    gaps = [round(later - earlier) for earlier, later in zip(times, times[1:], strict=False)]
    assert gaps[0] <= 3
    assert gaps[3] >= 14
    assert all(299 <= gap <= 306 for gap in gaps[5:])
    assert len(gaps) > 10
    assert any("recoveries one after the other: the next one waits 300 seconds" in said for said in group.said())


def test_a_wait_is_said_once(group: Group) -> None:
    flap(group, 1)
    group.head = replace(RUNNING, pid=900, started=900)
    group.run(1)
    lose(group)
    group.run(200)
    group.head = replace(group.head, pid=901, started=901)
    group.run(10)
    before = len(group.said())
    group.run(100)
    assert group.supervisor.state == "waiting"
    assert len(group.said()) == before


@pytest.mark.parametrize(
    ("steps", "waits"),
    [
        ([0, 0, 0], [0, 0, 5]),
        ([0, 10, 10, 10, 100, 100], [0, 0, 0, 5, 0, 200]),
        ([0, 0, 601, 0], [0, 0, 0, 0]),
    ],
)
def test_backoff(steps: Sequence[float], waits: Sequence[float]) -> None:
    backoff, now, found = Backoff(RecoveryLimits.backoff_s, RecoveryLimits.calm_s), 50.0, []
    for step in steps:
        now += step
        found.append(backoff.wait(now))
        backoff.note(now)
    assert found == pytest.approx(list(waits))


WELL = WorkerObservation("active", False, 101, 500, "S", 0)
VIEWS: Mapping[str, tuple[WorkerObservation, str, float, int]] = {
    "well": (WELL, "", 300, 0),
    "stopped": (replace(WELL, state="T"), "", 4, 1),
    "stopped for a moment": (replace(WELL, state="T"), "", 2, 0),
    "under a debugger": (replace(WELL, state="t"), "", 300, 0),
    "hung": (replace(WELL, stale=3), "", 62, 1),
    "slow to close": (replace(WELL, stale=3), "", 50, 0),
    "held": (replace(WELL, state="T"), "by hand", 300, 0),
    "restarted by somebody": (replace(WELL, state="T", job=True), "", 300, 0),
    "not there": (WorkerObservation("inactive", False, 0, 0, "", 0), "", 300, 0),
}


@pytest.mark.parametrize(("view", "hold", "seconds", "restarts"), VIEWS.values(), ids=VIEWS)
def test_host_judges_its_own_worker(view: WorkerObservation, hold: str, seconds: float, restarts: int) -> None:
    monitor, now, found = WorkerMonitor(RecoveryLimits()), 0.0, []
    monitor.step(now, WELL)
    while now < seconds:
        now += 0.5
        found += monitor.step(now, view, hold)
    assert [action.kind for action in found] == ["restart"] * restarts


class Model:
    """The process of a model of a router, watched for so many seconds; what was done about it."""

    def __init__(self, **changes: Any) -> None:
        self.supervisor = Supervisor(RecoveryLimits(), "the model a", Backoff((0.0, 60.0), 600.0))
        self.now, self.view = 1000.0, replace(RUNNING, links={}, may_sleep=True, busy=1, progress="x", **changes)

    def run(self, seconds: float, computes: float = 0.0, probe: ProbeResult | None = None) -> list[Action]:
        done: list[Action] = []
        for _each in range(round(seconds / 0.5)):
            self.now += 0.5
            self.view = replace(self.view, cpu_s=self.view.cpu_s + 0.5 * computes)
            done += self.supervisor.step(self.now, self.view, {}, probe=probe)
        return [action for action in done if action.kind != LOG]


def test_a_model_that_answers_its_health_and_makes_nothing_is_ended() -> None:
    model = Model()
    model.run(1)
    (asked,) = model.run(185)
    assert asked.kind == PROBE
    (ended,) = model.run(0.5, probe=ProbeResult(False, "none within 120 seconds"))
    assert (ended.kind, ended.reason[:21]) == (RESTART, "the model a is hung: ")


def test_a_model_that_wakes_reads_its_file_as_long_as_that_takes() -> None:
    model = Model()
    assert model.run(1200, computes=0.3) == []
    model = Model(slots_known=None)
    assert model.run(1200, computes=0.3) == []


def test_a_model_that_sleeps_is_not_asked_for_a_token() -> None:
    model = Model(slots_known=False)
    model.view = replace(model.view, busy=0)
    assert model.run(3600) == []
