# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent does about what it sees: observations in, actions with their reasons out.

Head and workers are one group. A head that has lost a worker is of no use: it says that it is healthy and
aborts at the next request, or hangs. So it is restarted at once, and its start waits until every
worker answers; that way systemd holds the recovery, and an agent that dies in the middle of it harms nothing.

Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .heartbeat import Heartbeat, Worker

LOG = "log"
RESTART = "restart"
PROBE = "probe"
# What a step of the clock that is longer than this means: this host, or its agent, was stopped.
PAUSE_S = 5.0
# A token that is seen may be that old.
PROGRESS_LAG_S = 4.0
# systemd has that long to end a process that it was told to restart, before it is told again.
OBEYS_S = 30.0
# A process computes if it used this share of one processor during a look of this many seconds.
COMPUTES, LOOK_S = 0.002, 10.0
# The kernel's letter for a process that a debugger holds.
DEBUGGED = "t"
# What an API says that says nothing.
MUTE = ("silent", "refused")


@dataclass(frozen=True)
class RecoveryLimits:
    """How long the agent waits before it acts, in seconds.

    :param silent_s: without a heartbeat from a host that answered before.
    :param confirm_s: that a lost connection is looked at again.
    :param idle_probe_s: an idle head without a token, before it is asked for one; 0 never asks.
    :param stall_s: a busy head without progress, or one whose slots do not answer, before it is asked; and one that
        says that it loads, whose process does nothing.
    :param mute_s: that the head's API may say nothing while its process does nothing.
    :param mute_busy_s: that its API may say nothing while its process computes: it may only have too many clients.
    :param probe_s: that it may take to answer; longer than the longest request where all slots are busy.
    :param drain_s: that running requests are given where they can still end well.
    :param frozen_s: that the process of a worker may be stopped.
    :param stale_s: that a worker may keep a connection that its client has closed.
    :param backoff_s: pauses between one recovery and the next, while they come one after the other.
    :param calm_s: without a recovery, after which the pauses begin anew.
    """

    silent_s: float = 6.0
    confirm_s: float = 0.4
    idle_probe_s: float = 900.0
    stall_s: float = 180.0
    mute_s: float = 60.0
    mute_busy_s: float = 1800.0
    probe_s: float = 120.0
    drain_s: float = 120.0
    frozen_s: float = 3.0
    stale_s: float = 60.0
    backoff_s: tuple[float, ...] = (0.0, 0.0, 5.0, 15.0, 60.0, 300.0)
    calm_s: float = 600.0


@dataclass(frozen=True)
class Action:
    """One thing to do, and why: C(log), C(restart) or C(probe).

    :param gently: whether what runs may come to its end, because it can; and nothing is started that was stopped.
    """

    kind: str
    reason: str
    gently: bool = False


@dataclass(frozen=True)
class PeerObservation:
    """What came of asking a node for its heartbeat.

    :param kind: C(heartbeat); C(refused): the host lives and its agent does not; C(bad): something else answered;
        C(silent): nothing came.
    :param at: when it came; None is the moment in which it is looked at.
    """

    kind: str
    heartbeat: Heartbeat | None = None
    detail: str = ""
    at: float | None = None


@dataclass(frozen=True)
class HeadObservation:
    """The head as its own host sees it.

    :param links: established connections to each worker, as C(address:port) of this end.
    :param slots_known: None where the slots did not answer in time, False where this head does not show them.
    :param progress: changes whenever a token was made or a part of a prompt was read; counts where the slots are known.
    :param state: the kernel's letter for the process, C(T) for one that was stopped.
    :param cpu_s: processor time that the process has used.
    :param may_sleep: whether it lets go of its workers, or of its memory, when it is idle.
    """

    active: str = "inactive"
    sub: str = "dead"
    job: bool = False
    pid: int = 0
    started: int = 0
    state: str = "S"
    release: str = ""
    health: str = ""
    cpu_s: float = 0.0
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_sleep: bool = False
    slots_known: bool | None = False
    busy: int = 0
    progress: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """How the completion ended that the agent asked for.

    :param asked: whether the head could be asked at all; if not, nothing is known of it.
    """

    answered: bool
    detail: str = ""
    asked: bool = True


class Backoff:
    """How long to wait before the next recovery: longer while they come one after the other, never for ever."""

    def __init__(self, pauses: tuple[float, ...], calm_s: float) -> None:
        self.pauses, self.calm_s = pauses, calm_s
        self.last = 0.0
        self.count = 0

    def wait(self, now: float) -> float:
        """Seconds until the next one may be."""
        if self.count and now - self.last > self.calm_s:
            self.count = 0
        if not self.count:
            return 0.0
        return max(0.0, self.last + self.pauses[min(self.count, len(self.pauses) - 1)] - now)

    def note(self, now: float) -> None:
        """Count one."""
        self.count, self.last = self.count + 1, now


@dataclass
class _Peer:
    """What is remembered of one worker."""

    answered_at: float | None = None
    came_at: float | None = None
    agent: str = ""
    sequence: int = -1
    changed_at: float = 0.0
    identity: tuple[str, int, int] = ("", 0, 0)
    paired: tuple[str, int, int] = ("", 0, 0)
    linked: bool = False
    links: frozenset[str] = frozenset()
    unlinked_since: float | None = None
    half_open_since: float | None = None
    half_open_sequence: int = -1


def _identity(heartbeat: Heartbeat, worker: Worker) -> tuple[str, int, int]:
    return heartbeat.boot_id, worker.pid, worker.started


class Supervisor:
    """Watches the head of a group and its workers; call C(step) again and again.

    A router of models and the process of each of its models are watched as heads that have no workers.

    :param name: what it is called.
    :param backoff: where recoveries are counted that others than this one count too.
    """

    def __init__(self, limits: RecoveryLimits, name: str = "the head", backoff: Backoff | None = None) -> None:
        self.limits, self.name = limits, name
        self.backoff = backoff or Backoff(limits.backoff_s, limits.calm_s)
        self.state, self.reason, self.recoveries = "starting", "", 0
        self._peers: dict[str, _Peer] = {}
        self._last: float | None = None
        self._process = (0, 0)
        self._told = ((0, 0), 0.0)
        self._was_active = False
        self._serving = False
        self._trouble_at: float | None = None
        self._progress = ""
        self._progress_at = self._token_at = 0.0
        self._heard = False
        self._unanswered_at: float | None = None
        self._mute_at: float | None = None
        self._computed_at = 0.0
        self._cpu = (0.0, 0.0)
        self._probing = ""
        self._draining_since: float | None = None
        self._drained_for: set[tuple[str, int, int, str]] = set()
        self._hung = ""
        self._frozen_at: float | None = None
        self._said: dict[str, str] = {}

    # Words

    def _log_once(self, topic: str, text: str, actions: list[Action]) -> None:
        if self._said.get(topic) != text:
            self._said[topic] = text
            if text:
                actions.append(Action(LOG, text))

    def _set(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason

    # What is seen of the workers

    def _follow(self, now: float, observations: Mapping[str, PeerObservation], actions: list[Action]) -> None:
        for name, observation in observations.items():
            peer = self._peers.setdefault(name, _Peer())
            heartbeat, at = observation.heartbeat, now if observation.at is None else observation.at
            if observation.kind == "silent":
                continue
            came_at, peer.came_at = peer.came_at, at
            if observation.kind == "heartbeat" and heartbeat is not None:
                if heartbeat.agent != peer.agent or heartbeat.sequence > peer.sequence:
                    peer.agent, peer.sequence, peer.changed_at = heartbeat.agent, heartbeat.sequence, at
                    if heartbeat.worker is not None:
                        peer.identity = _identity(heartbeat, heartbeat.worker)
                    self._log_once(f"agent {name}", "", actions)
                elif at - peer.changed_at >= self.limits.silent_s:
                    # Its main thread hangs, and its watchdog will end it. But a host that is away answers nothing at
                    # all, and what became of the worker is seen in the head's own connections.
                    text = f"the agent of {name} hangs: it says the same again; its host answers, so nothing is done"
                    self._log_once(f"agent {name}", text, actions)
            else:
                kind = "is away" if observation.kind == "refused" else "makes no sense"
                text = f"the agent of {name} {kind} ({observation.detail}); its host answers, so nothing is done"
                self._log_once(f"agent {name}", text, actions)
            # An answer counts from when it came: one that is looked at again is no other.
            if at != came_at:
                peer.answered_at = max(at, peer.answered_at or at)

    def _lost_link(self, now: float, name: str, head: HeadObservation, observation: PeerObservation) -> str:
        """Why the connection to a worker is not there, or nothing."""
        peer = self._peers[name]
        links = frozenset(head.links.get(name, ()))
        # A head that loads opens connections that last for a moment; one that counts is there twice.
        peer.linked, peer.links = peer.linked or bool(links & peer.links), links
        if links:
            peer.unlinked_since = None
            return ""
        if head.may_sleep or not (peer.linked or head.health == "ok"):
            return ""
        if peer.unlinked_since is None:
            peer.unlinked_since = now
        # The kernel's table is not read in one step: a line may be missing from one reading.
        if now - peer.unlinked_since < self.limits.confirm_s:
            return ""
        return f"the head has no connection to {name}: {self._what_became_of(name, observation)}"

    def _what_became_of(self, name: str, observation: PeerObservation) -> str:
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
        """Why a connection that this end believes in is none, or nothing."""
        peer, heartbeat, links = self._peers[name], observation.heartbeat, head.links.get(name, ())
        if not links or heartbeat is None or heartbeat.worker is None:
            peer.half_open_since = None
            return ""
        if set(links) & set(heartbeat.worker.clients):
            peer.paired, peer.half_open_since = _identity(heartbeat, heartbeat.worker), None
            return ""
        if peer.half_open_since is None:
            peer.half_open_since, peer.half_open_sequence = now, heartbeat.sequence
        # Both tables were read at other moments: it takes a newer heartbeat to be sure.
        is_newer = heartbeat.sequence > peer.half_open_sequence + 1 or heartbeat.agent != peer.agent
        if not is_newer or now - peer.half_open_since < 2 * self.limits.confirm_s:
            return ""
        return f"{name} knows nothing of the head's connection: {self._what_became_of(name, observation)}"

    def _silent(self, now: float, name: str, actions: list[Action]) -> str:
        heard = self._peers[name].answered_at
        if heard is None or now - heard < self.limits.silent_s:
            return ""
        if self._token_at - heard > PROGRESS_LAG_S:
            # Tokens come, so the worker is there and only its heartbeat is not: it must be heard again to count.
            self._peers[name].answered_at = None
            text = f"{name} has not answered for {now - heard:.0f} seconds, but the head goes on: nothing is done"
            self._log_once(f"agent {name}", text, actions)
            return ""
        return f"{name} has not answered for {now - heard:.0f} seconds: its host or the fabric is away"

    def _doomed(
        self, now: float, head: HeadObservation, observations: Mapping[str, PeerObservation], actions: list[Action]
    ) -> list[str]:
        """Reasons for which what the head does now cannot end well."""
        reasons = []
        for name, observation in observations.items():
            found = (
                self._lost_link(now, name, head, observation)
                or self._half_open(now, name, head, observation)
                or self._silent(now, name, actions)
            )
            heartbeat = observation.heartbeat
            if found and heartbeat is not None and heartbeat.hold is not None:
                self._log_once(f"hold {name}", f"held on {name} ({heartbeat.hold.reason}): {found}", actions)
                found = ""
            elif not found:
                self._log_once(f"hold {name}", "", actions)
            if found:
                reasons.append(found)
        return reasons

    def _other_release(self, head: HeadObservation, observations: Mapping[str, PeerObservation]) -> str:
        """A worker that is connected and of another release, once for each such pair of processes."""
        for name, observation in observations.items():
            worker = observation.heartbeat.worker if observation.heartbeat is not None else None
            if worker is None or not worker.release or not head.release or worker.release == head.release:
                continue
            if (name, worker.pid, worker.started, head.release) not in self._drained_for:
                return f"{name} runs release {worker.release}, the head {head.release}"
        return ""

    # What is seen of the head

    def _suspicion(self, now: float, head: HeadObservation) -> str:
        """Why the head may be hung, though it runs; or nothing."""
        if head.health in MUTE:
            return self._muteness(now, head)
        self._mute_at = None
        self._heard = self._heard or head.health in ("ok", "loading")
        if head.health != "ok":
            return ""
        # What did not answer shows nothing, and that it does not is no token.
        if head.slots_known and head.progress != self._progress:
            self._progress, self._progress_at, self._token_at = head.progress, now, now
        if head.slots_known is None:
            if self._unanswered_at is None:
                self._unanswered_at = now
            quiet = now - self._unanswered_at
            is_stuck = quiet >= self._patience(now, head)
            return f"its slots have not answered for {quiet:.0f} seconds" if is_stuck else ""
        self._unanswered_at = None
        if not head.slots_known or (head.may_sleep and head.links):
            return ""
        quiet = now - self._progress_at
        if head.busy > 0:
            is_stuck = quiet >= self._patience(now, head)
            return f"it is busy and made nothing for {quiet:.0f} seconds" if is_stuck else ""
        # Asked for a token it would wake.
        if self.limits.idle_probe_s and quiet >= self.limits.idle_probe_s and not head.may_sleep:
            return f"it is idle and made nothing for {quiet:.0f} seconds"
        return ""

    def _patience(self, now: float, head: HeadObservation) -> float:
        """Seconds that a busy one may make nothing: one that wakes reads its model first, as long as that takes."""
        wakes = head.may_sleep and now - self._computed_at < self.limits.stall_s
        return self.limits.mute_busy_s if wakes else self.limits.stall_s

    def _muteness(self, now: float, head: HeadObservation) -> str:
        """Why the silence of a head's API is more than that of one with too many clients."""
        if not self._heard:
            # An API that never said a word to this agent may be at another address, or behind a firewall.
            return ""
        if self._mute_at is None:
            self._mute_at = now
        lasts, idle = now - self._mute_at, now - self._computed_at
        word = "silent" if head.health == "silent" else "closed"
        if lasts >= self.limits.mute_s and idle >= self.limits.mute_s:
            return f"its API has been {word} for {lasts:.0f} seconds, and its process did nothing"
        if lasts >= self.limits.mute_busy_s:
            return f"its API has been {word} for {lasts:.0f} seconds"
        return ""

    def _compute(self, now: float, head: HeadObservation) -> None:
        """See whether the process uses a processor."""
        began, used = self._cpu
        if now - began >= LOOK_S:
            if head.cpu_s - used >= COMPUTES * (now - began):
                self._computed_at = now
            self._cpu = (now, head.cpu_s)

    def _loads_for_ever(self, now: float, head: HeadObservation) -> str:
        """Why a head that says that it loads its model does not: loading reads and sends all the time."""
        idle = now - self._computed_at
        if head.health != "loading" or idle < self.limits.stall_s:
            return ""
        return f"{self.name} says that it loads its model, and its process has done nothing for {idle:.0f} seconds"

    def _begin_process(self, now: float, head: HeadObservation, actions: list[Action]) -> None:
        self._process = (head.pid, head.started)
        self._mute_at, self._computed_at, self._cpu = None, now, (now, head.cpu_s)
        self._progress, self._progress_at, self._unanswered_at = head.progress, now, None
        self._token_at = now
        self._probing, self._draining_since, self._serving = "", None, False
        self._hung, self._frozen_at = "", None
        for peer in self._peers.values():
            peer.linked, peer.links, peer.paired = False, frozenset(), ("", 0, 0)
            # What was not heard of since this process began may only have a firewall in front of its agent.
            peer.answered_at = None
            peer.unlinked_since = peer.half_open_since = None
        if head.pid:
            actions.append(Action(LOG, f"{self.name} runs as process {head.pid}"))

    def _restart(self, now: float, reason: str, actions: list[Action], gently: bool = False) -> None:
        if self._trouble_at is None:
            self._trouble_at = now
        self._log_once("trouble", f"noticed: {reason}", actions)
        wait = self.backoff.wait(now)
        if wait > 0:
            text = (
                f"{self.backoff.count} recoveries one after the other: the next one waits "
                f"{self.backoff.pauses[min(self.backoff.count, len(self.backoff.pauses) - 1)]:g} seconds"
            )
            self._log_once("backoff", text, actions)
            self._set("waiting", reason)
            return
        self._said.pop("backoff", None)
        self._said.pop("trouble", None)
        self.backoff.note(now)
        self._told = (self._process, now)
        self.recoveries += 1
        self._probing, self._draining_since = "", None
        self._set("recovering", reason)
        actions.append(Action(RESTART, reason, gently))

    # One step

    def step(
        self,
        now: float,
        head: HeadObservation,
        observations: Mapping[str, PeerObservation],
        hold: str = "",
        probe: ProbeResult | None = None,
    ) -> list[Action]:
        """Look once and say what is to be done.

        :param hold: why nothing is to be done on this host, empty where nobody asked for that.
        :param probe: how the completion ended that was asked for before.
        """
        actions: list[Action] = []
        if self._last is not None and not 0 <= now - self._last <= PAUSE_S:
            self._forget_times(now)
            actions.append(Action(LOG, f"this agent did not run for {now - self._last:.0f} seconds; it looks anew"))
        self._last = now
        self._follow(now, observations, actions)
        if head.active != "active" or not head.pid or head.job:
            self._not_running(now, head, hold, actions)
            return actions
        self._was_active = True
        if (head.pid, head.started) != self._process:
            if self._serving:
                self._ended(now, actions)
            self._begin_process(now, head, actions)
        self._running(now, head, observations, hold, probe, actions)
        return actions

    def _forget_times(self, now: float) -> None:
        """What was long ago may only look so."""
        for peer in self._peers.values():
            peer.answered_at = None if peer.answered_at is None else now
            peer.unlinked_since = peer.half_open_since = None
        self._progress_at, self._token_at, self._unanswered_at, self._draining_since = now, now, None, None
        self._mute_at, self._computed_at = None, now

    def _ended(self, now: float, actions: list[Action]) -> None:
        """The process is gone, and it was not the agent who ended it."""
        if self._serving and self.state != "recovering":
            self._trouble_at = now
            actions.append(Action(LOG, f"noticed: {self.name}'s process has ended; systemd starts it again"))
        self._serving = False

    def _not_running(self, now: float, head: HeadObservation, hold: str, actions: list[Action]) -> None:
        if head.active in ("activating", "deactivating", "reloading") or head.job:
            # A stop by hand is seen here first, as a job.
            if head.sub == "auto-restart" and self._serving:
                self._ended(now, actions)
                if not hold and not self.backoff.wait(now):
                    # systemd would wait a little first; the worker readiness check waits better.
                    self.backoff.note(now)
                    actions.append(Action(RESTART, "its process has ended", gently=True))
            self._set(self.state if self.state == "recovering" else "starting", self.reason)
            return
        if head.active == "active":
            # Its process is gone, and systemd has not said yet what that means.
            return
        if self._was_active or self.state != "stopped":
            actions.append(Action(LOG, f"{self.name}'s unit is {head.active}: it was stopped, and stays so"))
        self._was_active, self._serving, self._trouble_at = False, False, None
        self._process = (0, 0)
        self._set("stopped")

    def _running(
        self,
        now: float,
        head: HeadObservation,
        observations: Mapping[str, PeerObservation],
        hold: str,
        probe: ProbeResult | None,
        actions: list[Action],
    ) -> None:
        told, when = self._told
        if told == self._process and now - when < OBEYS_S:
            # It was told to restart this very process, which is not gone yet.
            return
        if head.state == DEBUGGED:
            self._forget_times(now)
        self._compute(now, head)
        suspicion = self._suspicion(now, head)
        reasons = self._doomed(now, head, observations, actions)
        self._log_once("held", f"held: {hold}" if hold else "", actions)
        if hold:
            self._forget_times(now)
            self._set("held", hold)
            return
        if reasons:
            self._restart(now, "; ".join(reasons), actions)
            return
        if stuck := self._frozen(now, head) or self._loads_for_ever(now, head):
            self._restart(now, stuck, actions)
            return
        self._ask(suspicion, probe, actions)
        if self._hung:
            self._restart(now, f"{self.name} is hung: {self._hung}, and no token came", actions)
        elif head.health == "ok":
            self._serves(now, head, observations, actions)
        elif self._serving and head.health in MUTE:
            self._set("mute", "its API does not answer")
        else:
            self._set("recovering" if self.state == "recovering" else "loading", self.reason)

    def _frozen(self, now: float, head: HeadObservation) -> str:
        if head.state != "T":
            self._frozen_at = None
            return ""
        if self._frozen_at is None:
            self._frozen_at = now
        lasts = now - self._frozen_at
        if lasts < self.limits.frozen_s:
            return ""
        return f"{self.name}'s process {head.pid} has been stopped for {lasts:.0f} seconds"

    def _ask(self, suspicion: str, probe: ProbeResult | None, actions: list[Action]) -> None:
        """Ask a head that may be hung for a completion; it is, if none comes and it still looks so."""
        if self._probing and probe is not None:
            self._log_once("unasked", "" if probe.asked else f"no completion can be asked for: {probe.detail}", actions)
            if probe.asked and not probe.answered and suspicion:
                actions.append(Action(LOG, f"a completion was not answered: {probe.detail}"))
                self._hung = suspicion
            self._probing = ""
            # An answer to it is progress, whatever the slots show; and who cannot ask tries again later.
            self._progress_at, self._unanswered_at, self._mute_at = self._last or 0.0, None, None
            if probe.answered:
                self._token_at = self._progress_at
        elif suspicion and not self._probing:
            self._probing = suspicion
            actions.append(Action(PROBE, suspicion))

    def _serves(
        self, now: float, head: HeadObservation, observations: Mapping[str, PeerObservation], actions: list[Action]
    ) -> None:
        if not self._serving:
            self._serving = True
            took = "" if self._trouble_at is None else f", {now - self._trouble_at:.1f} seconds after it was noticed"
            actions.append(Action(LOG, f"{self.name} serves{took}"))
        self._trouble_at = None
        self._said.pop("trouble", None)
        mixed = self._other_release(head, observations)
        if not mixed:
            self._draining_since = None
            self._set("watching")
            return
        if self._draining_since is None:
            self._draining_since = now
            actions.append(Action(LOG, f"noticed: {mixed}; running requests have {self.limits.drain_s:g} seconds"))
        self._set("draining", mixed)
        if head.busy <= 0 or now - self._draining_since >= self.limits.drain_s:
            for name, observation in observations.items():
                worker = observation.heartbeat.worker if observation.heartbeat is not None else None
                if worker is not None:
                    # Once: if both come back as they are, another restart will not change that.
                    self._drained_for.add((name, worker.pid, worker.started, head.release))
            self._restart(now, mixed, actions, gently=True)


@dataclass(frozen=True)
class WorkerObservation:
    """The worker as its own host sees it; state is the kernel's letter, stale those connections it does not close."""

    active: str
    job: bool
    pid: int
    started: int
    state: str
    stale: int


class WorkerMonitor:
    """Watches the worker of this host for what nobody else can see; systemd starts one that has ended."""

    def __init__(self, limits: RecoveryLimits) -> None:
        self.limits = limits
        self.backoff = Backoff(limits.backoff_s, limits.calm_s)
        self._last: float | None = None
        self._process = (0, 0)
        self._since: dict[str, float] = {}
        self._said = ""

    def _lasts(self, topic: str, is_so: bool, now: float) -> float:
        if not is_so:
            self._since.pop(topic, None)
            return -1.0
        return now - self._since.setdefault(topic, now)

    def step(self, now: float, worker: WorkerObservation, hold: str = "") -> list[Action]:
        """Look once and say what is to be done."""
        process = (worker.pid, worker.started)
        is_away = self._last is not None and not 0 <= now - self._last <= PAUSE_S
        self._last = now
        if is_away or hold or worker.job or worker.active != "active" or not worker.pid or process != self._process:
            self._process, self._since, self._said = process, {}, ""
            return []
        frozen = self._lasts("frozen", worker.state == "T", now)
        stale = self._lasts("stale", worker.stale > 0, now)
        reason = ""
        if frozen >= self.limits.frozen_s:
            reason = f"the worker's process {worker.pid} has been stopped for {frozen:.0f} seconds"
        elif stale >= self.limits.stale_s:
            reason = f"the worker keeps a connection that its head closed {stale:.0f} seconds ago: it is hung"
        if not reason:
            return []
        wait = self.backoff.wait(now)
        if wait > 0:
            text = f"{reason}; {self.backoff.count} restarts one after the other, so the next one waits"
            if self._said:
                return []
            self._said = text
            return [Action(LOG, text)]
        self.backoff.note(now)
        self._since = {}
        return [Action(RESTART, reason)]
