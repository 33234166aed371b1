# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a rank of a vLLM job must end, from what its wrapper sees.

vLLM watches no other rank: each unplanned end has exit status 0, a headless rank outlives rank 0, and a stopped process
is noticed after minutes. So each wrapper watches its own processes and the heartbeats of all other ranks. Observations
and limits go in, and a verdict with a reason comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import heartbeat_message

#: Seconds between two heartbeats, and between two looks at the processes.
EVERY_S, LOOK_S = 0.5, 0.5


@dataclass(frozen=True)
class WatchLimits:
    """Times in seconds after which a rank ends.

    :param join_s: until every other rank has sent its first heartbeat.
    :param silent_s: without a heartbeat of a rank that has sent one.
    :param frozen_s: for which a process of vLLM may be stopped.
    :param vanished_s: between the end of a process of a serving vLLM and the end of its main process.
    :param vanished_loading_s: the same while vLLM loads: its main process first reports the cause.
    :param load_s: from the start of vLLM to the first completion.
    :param pause_s: a longer time between two looks means that this wrapper was stopped, or got no processor. It is
        shorter than C(silent_s): heartbeats that came meanwhile are read only afterwards.
    """

    join_s: float = 300.0
    silent_s: float = 8.0
    frozen_s: float = 5.0
    vanished_s: float = 2.0
    vanished_loading_s: float = 20.0
    load_s: float = 7200.0
    pause_s: float = 5.0


@dataclass(frozen=True)
class Peer:
    """Another rank.

    :param heard_s: seconds since its last heartbeat; None if there was none.
    :param last: its last heartbeat.
    """

    rank: int
    host: str
    address: str
    heard_s: float | None = None
    last: heartbeat_message.Heartbeat | None = None


@dataclass(frozen=True)
class Processes:
    """The processes of vLLM on this node.

    :param is_started: whether vLLM was started.
    :param status: exit status of its main process; None while it runs.
    :param stopped: seconds for which processes are stopped, by their names.
    :param vanished: seconds since processes of vLLM have ended, by their names.
    """

    is_started: bool = False
    status: int | None = None
    stopped: Mapping[str, float] = field(default_factory=dict)
    vanished: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What the wrapper of a rank sees at one moment.

    :param waited_s: seconds since the wrapper's start.
    :param loading_s: seconds since the start of vLLM.
    :param is_ready: whether vLLM serves; another rank says so of rank 0.
    :param unhealthy: why the API of rank 0 does not answer; empty if it does.
    """

    rank: int
    host: str
    waited_s: float
    loading_s: float
    is_ready: bool
    peers: Sequence[Peer] = ()
    processes: Processes = field(default_factory=Processes)
    unhealthy: str = ""


@dataclass(frozen=True)
class Verdict:
    """The rank must end.

    :param is_own: whether the cause is on this node. Other ranks only follow.
    :param is_done: whether the end was asked for.
    :param was_ready: whether the job had served.
    :param is_signal: whether Slurm or a person ends the job by a signal, which vLLM's processes got as well.
    """

    reason: str
    is_own: bool = True
    is_done: bool = False
    was_ready: bool = False
    is_signal: bool = False


def _status_in_words(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"


def _own(seen: Observation, limits: WatchLimits) -> str:
    """Say what is wrong with this rank's own processes; empty if nothing is."""
    found, where = seen.processes, f"rank {seen.rank} on {seen.host}"
    if found.status is not None:
        when = "" if seen.is_ready else "while it started, "
        return f"{where}: vLLM has ended {when}without being asked, {_status_in_words(found.status)}"
    for name, seconds in found.stopped.items():
        if seconds >= limits.frozen_s:
            return f"{where}: {name} has been stopped for {seconds:.0f} seconds"
    patience = limits.vanished_s if seen.is_ready else limits.vanished_loading_s
    for name, seconds in found.vanished.items():
        if seconds >= patience:
            return f"{where}: {name} has ended without being asked"
    if seen.unhealthy:
        return f"{where}: {seen.unhealthy}"
    if found.is_started and not seen.is_ready and seen.loading_s >= limits.load_s:
        return f"{where}: vLLM is not ready {seen.loading_s:.0f} seconds after its start"
    return ""


def _peer(peer: Peer, seen: Observation, limits: WatchLimits) -> Verdict | None:
    where = f"rank {peer.rank} on {peer.host}"
    if peer.last is not None and peer.last.end:
        is_done = peer.last.end == heartbeat_message.DONE
        return Verdict(peer.last.reason or f"{where} has ended", is_own=False, is_done=is_done)
    if peer.heard_s is None:
        if seen.waited_s < limits.join_s:
            return None
        return Verdict(f"{where} ({peer.address}) has not come within {limits.join_s:.0f} seconds", is_own=False)
    if peer.heard_s < limits.silent_s:
        return None
    return Verdict(
        f"{where} ({peer.address}) has sent no heartbeat for {peer.heard_s:.0f} seconds; its node, its wrapper or the "
        "fabric is down",
        is_own=False,
    )


def judge(seen: Observation, limits: WatchLimits) -> Verdict | None:
    """Decide whether this rank must end; None while all is well."""
    if problem := _own(seen, limits):
        return Verdict(problem, was_ready=seen.is_ready)
    found = [verdict for peer in seen.peers if (verdict := _peer(peer, seen, limits))]
    # A reason that a rank gives of itself explains more than the silence of another one.
    found.sort(key=lambda verdict: "no heartbeat" in verdict.reason)
    if not found:
        return None
    first = found[0]
    return Verdict(first.reason, is_own=False, is_done=first.is_done, was_ready=seen.is_ready)


class PauseDetector:
    """Finds the times in which this wrapper itself was stopped, which count for nothing else.

    Slurm stops a suspended job on all of its nodes. Without this, each rank would take the others for dead afterwards.
    """

    def __init__(self, now: float, pause_s: float) -> None:
        self._last, self._pause_s = now, pause_s
        self.resumed_at = now

    def look(self, now: float) -> bool:
        """Note that the wrapper runs, and return whether it was stopped before."""
        was_stopped = now - self._last > self._pause_s
        self._last = now
        if was_stopped:
            self.resumed_at = now
        return was_stopped

    def since(self, moment: float, now: float) -> float:
        """Return the seconds that count since a moment."""
        return max(0.0, now - max(moment, self.resumed_at))
