# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the head's workers by its connections to them and by their hosts' heartbeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .actions import Action, Notices
from .heartbeat import Heartbeat, Worker
from .limits import RecoveryLimits
from .observations import HeadObservation, PeerObservation

# A token may have been seen that long after it was made.
PROGRESS_LAG_S = 4.0
# Boot of the host, id and start of a worker's process.
Identity = tuple[str, int, float]


@dataclass
class _Peer:
    """The state of one worker.

    :ivar paired: the worker's process that the head is connected to.
    :ivar is_linked: whether this process of the head had a lasting connection to it.
    """

    answered_at: float | None = None
    came_at: float | None = None
    agent: str = ""
    sequence: int = -1
    changed_at: float = 0.0
    paired: Identity = ("", 0, 0)
    is_linked: bool = False
    links: frozenset[str] = frozenset()
    unlinked_since: float | None = None
    half_open_since: float | None = None
    half_open_sequence: int = -1

    def note_sequence(self, heartbeat: Heartbeat, at: float) -> bool:
        """Return whether a heartbeat is newer than the last one."""
        if heartbeat.agent == self.agent and heartbeat.sequence <= self.sequence:
            return False
        self.agent, self.sequence, self.changed_at = heartbeat.agent, heartbeat.sequence, at
        return True


def _identity(heartbeat: Heartbeat, worker: Worker) -> Identity:
    return heartbeat.boot_id, worker.pid, worker.started


def _workers(observations: Mapping[str, PeerObservation]) -> Iterator[tuple[str, Worker]]:
    for name, observation in observations.items():
        if observation.heartbeat is not None and observation.heartbeat.worker is not None:
            yield name, observation.heartbeat.worker


class PeerTracker:
    """Follow the workers of a head."""

    def __init__(self, limits: RecoveryLimits, notices: Notices) -> None:
        self.limits, self.notices = limits, notices
        self._peers: dict[str, _Peer] = {}
        self._drained_for: set[tuple[str, int, float, str]] = set()

    def begin_process(self) -> None:
        """Forget the connections of the head's former process."""
        for peer in self._peers.values():
            peer.is_linked, peer.links, peer.paired = False, frozenset(), ("", 0, 0)
            # A worker that has not answered since this process started may only have a firewall before its agent.
            peer.answered_at = peer.unlinked_since = peer.half_open_since = None

    def restart_timers(self, now: float) -> None:
        """Count times from now on: the agent was stopped, or may not act."""
        for peer in self._peers.values():
            peer.answered_at = None if peer.answered_at is None else now
            peer.unlinked_since = peer.half_open_since = None

    def update(self, now: float, observations: Mapping[str, PeerObservation], actions: list[Action]) -> None:
        """Note which workers' hosts answer."""
        for name, observation in observations.items():
            peer = self._peers.setdefault(name, _Peer())
            if observation.kind == "silent":
                continue
            at = now if observation.at is None else observation.at
            came_at, peer.came_at = peer.came_at, at
            if observation.kind == "heartbeat" and observation.heartbeat is not None:
                if peer.note_sequence(observation.heartbeat, at):
                    self.notices.log_once(f"agent {name}", "", actions)
                elif at - peer.changed_at >= self.limits.silent_s:
                    # Its main thread hangs, and its watchdog ends it. But a host that is down answers nothing at all,
                    # and the head's own connections show the state of the worker.
                    text = (
                        f"the agent of {name} hangs: its heartbeat is unchanged; its host answers, so nothing is done"
                    )
                    self.notices.log_once(f"agent {name}", text, actions)
            else:
                kind = "is unavailable" if observation.kind == "refused" else "sends invalid heartbeats"
                text = f"the agent of {name} {kind} ({observation.detail}); its host answers, so nothing is done"
                self.notices.log_once(f"agent {name}", text, actions)
            # An answer counts from when it came, however often it is evaluated.
            if at != came_at:
                peer.answered_at = max(at, peer.answered_at or at)

    def problems(
        self,
        now: float,
        head: HeadObservation,
        observations: Mapping[str, PeerObservation],
        token_at: float,
        actions: list[Action],
    ) -> list[str]:
        """Return the reasons why the head's running requests cannot complete.

        :param token_at: when the head made its last token.
        """
        reasons = []
        for name, observation in observations.items():
            found = (
                self._lost_link(now, name, head, observation)
                or self._half_open(now, name, head, observation)
                or self._silent(now, name, token_at, actions)
            )
            heartbeat = observation.heartbeat
            if found and heartbeat is not None and heartbeat.hold is not None:
                self.notices.log_once(f"hold {name}", f"held on {name} ({heartbeat.hold.reason}): {found}", actions)
                continue
            if found:
                reasons.append(found)
            else:
                self.notices.log_once(f"hold {name}", "", actions)
        return reasons

    def _lost_link(self, now: float, name: str, head: HeadObservation, observation: PeerObservation) -> str:
        """Return why the head's connection to a worker is missing; empty if it is there or not expected."""
        peer = self._peers[name]
        links = frozenset(head.links.get(name, ()))
        # A head that loads opens connections for a moment; a lasting one is seen twice.
        peer.is_linked, peer.links = peer.is_linked or bool(links & peer.links), links
        if links:
            peer.unlinked_since = None
            return ""
        if head.may_sleep or not (peer.is_linked or head.health == "ok"):
            return ""
        if peer.unlinked_since is None:
            peer.unlinked_since = now
        # The kernel's table is not read atomically: a line may be missing from one reading.
        if now - peer.unlinked_since < self.limits.confirm_s:
            return ""
        return f"the head has no connection to {name}: {self._cause(name, observation)}"

    def _cause(self, name: str, observation: PeerObservation) -> str:
        peer, heartbeat = self._peers[name], observation.heartbeat
        if observation.kind == "silent":
            return "its host does not answer"
        if heartbeat is None or heartbeat.worker is None:
            return "its worker closed it"
        worker = heartbeat.worker
        if peer.paired[0] and heartbeat.boot_id != peer.paired[0]:
            return "its host was started again"
        if worker.active != "active" or not worker.pid:
            return f"its worker is {worker.active} ({worker.sub})"
        if peer.paired[1] and (worker.pid, worker.started) != peer.paired[1:]:
            return f"its worker was restarted, process {peer.paired[1]} is now {worker.pid}"
        return "its worker closed it"

    def _half_open(self, now: float, name: str, head: HeadObservation, observation: PeerObservation) -> str:
        """Return why a connection of this host does not exist on the worker's host; empty if it does."""
        peer, heartbeat, links = self._peers[name], observation.heartbeat, head.links.get(name, ())
        if not links or heartbeat is None or heartbeat.worker is None:
            peer.half_open_since = None
            return ""
        if set(links) & set(heartbeat.worker.clients):
            peer.paired, peer.half_open_since = _identity(heartbeat, heartbeat.worker), None
            return ""
        if peer.half_open_since is None:
            peer.half_open_since, peer.half_open_sequence = now, heartbeat.sequence
        # The two hosts' tables were read at different times: only a newer heartbeat confirms it.
        is_newer = heartbeat.sequence > peer.half_open_sequence + 1 or heartbeat.agent != peer.agent
        if not is_newer or now - peer.half_open_since < 2 * self.limits.confirm_s:
            return ""
        return f"{name} does not have the head's connection: {self._cause(name, observation)}"

    def _silent(self, now: float, name: str, token_at: float, actions: list[Action]) -> str:
        """Return why a host counts as down; empty if it answered lately, or never since the head's process started."""
        answered_at = self._peers[name].answered_at
        if answered_at is None or now - answered_at < self.limits.silent_s:
            return ""
        silence = f"{name} has not answered for {now - answered_at:.0f} seconds"
        if token_at - answered_at > PROGRESS_LAG_S:
            # The head makes tokens, so the worker runs and only its heartbeat is missing. Its silence counts
            # again after it has answered.
            self._peers[name].answered_at = None
            self.notices.log_once(f"agent {name}", f"{silence}, but the head makes tokens: nothing is done", actions)
            return ""
        return f"{silence}: its host or the fabric is unavailable"

    def other_release(self, head: HeadObservation, observations: Mapping[str, PeerObservation]) -> str:
        """Name a worker of another release than the head's, unless the head was drained for this pair before."""
        for name, worker in _workers(observations):
            is_other = worker.release and head.release and worker.release != head.release
            if is_other and (name, worker.pid, worker.started, head.release) not in self._drained_for:
                return f"{name} runs release {worker.release}, the head {head.release}"
        return ""

    def note_drained(self, head: HeadObservation, observations: Mapping[str, PeerObservation]) -> None:
        """Drain once only: if both processes start with the same releases, another restart changes nothing."""
        for name, worker in _workers(observations):
            self._drained_for.add((name, worker.pid, worker.started, head.release))
