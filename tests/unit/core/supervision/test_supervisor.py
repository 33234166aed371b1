# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions of the supervisor, second by second, from the observations below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import Hold
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import ProbeResult
from tests.unit.core.supervision.group import (
    AUTO_RESTART,
    BAD,
    IN_START_PRE,
    LINKS,
    LOADING,
    REFUSED,
    RUNNING,
    SILENT,
    STOPPED,
    A,
    B,
    Group,
    change,
    compute,
    lose,
)


def restarted(group: Group) -> None:
    """Replace the worker's process; the head's host still believes in its connection."""
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
        (restarted, 2.0, "vllm-node2 does not have the head's connection: its worker was restarted"),
        (rebooted, 2.0, "vllm-node2 does not have the head's connection: its host was started again"),
        (power_loss, 6.5, "vllm-node2 has not answered for 6 seconds: its host or the fabric is unavailable"),
    ],
)
def test_head_restarts_when_it_loses_a_worker(
    group: Group, happens: Callable[[Group], None], within: float, reason: str
) -> None:
    happens(group)
    group.run(within)
    assert len(group.restarts()) == 1
    assert group.restarts()[0].startswith(reason)
    assert f"noticed: {group.restarts()[0]}" in group.said()
    assert group.supervisor.state == "recovering"


def test_loss_of_two_workers_is_one_recovery(group: Group) -> None:
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


def test_recovery_is_logged_to_its_end(group: Group) -> None:
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
    """Hang its main thread, for instance in the kernel; the serving thread repeats the last heartbeat."""
    group.instead[A] = group.observation(A)


def agent_hangs_in_systemd(group: Group) -> None:
    """Stall a worker's systemd: heartbeats continue with the last state of the unit."""
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
    """Open and close connections, as the engine does before it allocates; one observation may see one of them."""
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
def test_head_is_not_restarted_without_cause(group: Group, happens: Callable[[Group], None]) -> None:
    happens(group)
    group.run(300)
    assert group.restarts() == []


def test_connection_lost_while_loading_restarts_the_head(group: Group) -> None:
    group.head = replace(LOADING, links=LINKS)
    group.run(2)
    group.head = LOADING
    group.run(1)
    assert group.restarts()[0].startswith("the head has no connection to vllm-node2")


@pytest.mark.parametrize("known", [None, False])
def test_unanswered_slots_are_no_progress(group: Group, known: bool | None) -> None:
    """Slots and counters that time out change the observation, but no token was made."""
    power_loss(group)
    group.run(5)
    group.head = replace(RUNNING, slots_known=known, busy=-1, progress=" -1")
    group.run(3)
    assert [reason.partition(":")[0] for reason in group.restarts()] == ["vllm-node2 has not answered for 6 seconds"]


@pytest.mark.parametrize("asked", [True, False])
def test_unanswered_probe_is_no_progress(group: Group, asked: bool) -> None:
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
        (agent_dies, "the agent of vllm-node2 is unavailable"),
        (agent_hangs, "the agent of vllm-node2 hangs: its heartbeat is unchanged"),
        (nonsense, "the agent of vllm-node2 sends invalid heartbeats (HTTP status 500)"),
        (stopped_by_hand, "the head's unit is inactive: it was stopped, and stays so"),
        (held, "held: by hand"),
        (held_on_the_worker, "held on vllm-node2 (by hand)"),
        (host_slept, "this agent did not run for 3600 seconds"),
    ],
)
def test_ignored_condition_is_logged_once(group: Group, happens: Callable[[Group], None], words: str) -> None:
    happens(group)
    group.run(100)
    assert len([said for said in group.said() if said.startswith(words)]) == 1


def test_head_restarts_after_a_hold(group: Group) -> None:
    held(group)
    group.run(60)
    group.hold = ""
    group.run(2)
    assert len(group.restarts()) == 1


def test_exited_head_is_logged_and_restarted_without_pause(group: Group) -> None:
    group.head = AUTO_RESTART
    group.run(5)
    wait_for_workers(group)
    group.head = replace(RUNNING, pid=78, started=900)
    group.run(2)
    assert group.restarts() == ["its process has ended"]
    assert "noticed: the head's process has ended; systemd starts it again" in group.said()
    assert "seconds after it was noticed" in group.said()[-1]


def test_late_systemd_does_not_look_like_a_stop(group: Group) -> None:
    process_ends_before_systemd_says_so(group)
    group.run(30)
    assert group.said()[-1] == "the head serves"
    group.head = AUTO_RESTART
    group.step()
    assert group.restarts() == ["its process has ended"]


def test_exited_head_on_a_held_node_is_left_to_systemd(group: Group) -> None:
    group.hold = "by hand"
    group.head = AUTO_RESTART
    group.run(5)
    assert group.restarts() == []


def test_head_that_never_had_a_connection_restarts() -> None:
    """Old releases of the engine continue without a worker."""
    group = Group()
    lose(group)
    change(group, clients=())
    group.run(2)
    assert len(group.restarts()) == 1


def test_silence_counts_once_for_each_process(group: Group) -> None:
    """A firewall blocks the agent: the head recovers well, so the worker was not the cause."""
    power_loss(group)
    group.run(10)
    group.head = replace(RUNNING, pid=78, started=900)
    group.run(600)
    assert len(group.restarts()) == 1


def test_old_answer_counts_as_silence(group: Group) -> None:
    """The polling thread hangs in a request to a frozen host."""
    group.instead[A] = replace(group.observation(A), at=group.now)
    group.run(5.5)
    assert group.restarts() == []
    group.run(4.5)
    assert group.restarts() == ["vllm-node2 has not answered for 6 seconds: its host or the fabric is unavailable"]


def test_silence_counts_from_the_last_answer(group: Group) -> None:
    group.instead[A] = replace(group.observation(A), at=group.now)
    group.run(3)
    group.instead[A] = SILENT
    group.run(3.5)
    assert len(group.restarts()) == 1


@pytest.mark.parametrize("busy", [0, 1])
def test_head_of_another_release_is_drained_once(group: Group, busy: int) -> None:
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


def exits(group: Group) -> None:
    group.head = AUTO_RESTART
    group.step()


def hangs(group: Group) -> None:
    group.head = replace(group.head, busy=1)
    group.run(200)
    group.step(probe=ProbeResult(False, "none within 120 seconds"))


RECOVERIES: dict[str, tuple[Callable[[Group], None], str]] = {
    "connection": (lose, metric_names.LOST_WORKER),
    "host": (power_loss, metric_names.LOST_WORKER),
    "stopped": (lambda group: setattr(group, "head", replace(group.head, state="T")), metric_names.STANDSTILL),
    "hung": (hangs, metric_names.HUNG),
    "release": (lambda group: change(group, release="b7836-cpu-5f1c20ab"), metric_names.OTHER_RELEASE),
    "exit": (exits, metric_names.EXITED),
}


@pytest.mark.parametrize(("happens", "cause"), RECOVERIES.values(), ids=RECOVERIES)
def test_recovery_is_counted_by_its_cause(group: Group, happens: Callable[[Group], None], cause: str) -> None:
    happens(group)
    group.run(10)
    assert group.supervisor.causes == {cause: 1}
