# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the agent does for a head: observations in, actions with their reasons out.

Head and workers are one group. A head that has lost a worker is of no use: it reports that it is healthy, and aborts at
the next request or hangs. So it is restarted at once, and its start waits until every worker answers. Systemd holds the
recovery that way, and an agent that exits in the middle of it does no harm.

Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .actions import LOG, PROBE, RESTART, Action, Notices
from .limits import Backoff, RecoveryLimits, is_paused
from .liveness import Liveness
from .metric_names import EXITED, HUNG, LOST_WORKER, OTHER_RELEASE, STANDSTILL
from .observations import MUTE, TRACED, HeadObservation, PeerObservation, ProbeResult
from .peers import PeerTracker

# Systemd may take that long to end a process after a restart was requested; then it is requested again.
RESTART_TIMEOUT_S = 30.0

Peers = Mapping[str, PeerObservation]


class Supervisor:
    """Supervise the head of a group; call C(step) periodically.

    A router of models, and the process of each of its models, are supervised as heads without workers.

    :param name: names the process in reasons.
    :param backoff: counts recoveries, also those of other supervisors that share it.
    :ivar causes: how often the supervisor asked for a restart, by cause (metric_names.py).
    """

    def __init__(self, limits: RecoveryLimits, name: str = "the head", backoff: Backoff | None = None) -> None:
        self.limits, self.name = limits, name
        self.backoff = backoff or Backoff(limits.backoff_s, limits.calm_s)
        self.state, self.reason, self.recoveries = "starting", "", 0
        self.causes: Counter[str] = Counter()
        self._notices = Notices()
        self._peers = PeerTracker(limits, self._notices)
        self._liveness = Liveness(limits, name)
        self._last: float | None = None
        self._process = (0, 0.0)
        self._restart_requested = ((0, 0.0), 0.0)
        self._was_active = False
        self._serving = False
        self._trouble_at: float | None = None
        self._probing = ""
        self._hung = ""
        self._draining_since: float | None = None

    def step(
        self, now: float, head: HeadObservation, peers: Peers, hold: str = "", probe: ProbeResult | None = None
    ) -> list[Action]:
        """Evaluate the observations of one moment and return the actions.

        :param hold: why nothing is to be done on this host; empty without a hold.
        :param probe: the result of the completion that was requested before.
        """
        actions: list[Action] = []
        if self._last is not None and is_paused(self._last, now):
            self._restart_timers(now)
            actions.append(Action(LOG, f"this agent did not run for {now - self._last:.0f} seconds; it looks anew"))
        self._last = now
        self._peers.update(now, peers, actions)
        if head.active != "active" or not head.pid or head.job:
            self._step_inactive(now, head, hold, actions)
            return actions
        self._was_active = True
        if (head.pid, head.started) != self._process:
            if self._serving:
                self._note_exit(now, actions)
            self._begin_process(now, head, actions)
        self._step_running(now, head, peers, hold, probe, actions)
        return actions

    def _set(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason

    def _restart_timers(self, now: float) -> None:
        self._peers.restart_timers(now)
        self._liveness.restart_timers(now)
        self._draining_since = None

    def _begin_process(self, now: float, head: HeadObservation, actions: list[Action]) -> None:
        self._process = (head.pid, head.started)
        self._liveness.begin_process(now, head)
        self._peers.begin_process()
        self._probing, self._hung, self._draining_since, self._serving = "", "", None, False
        actions.append(Action(LOG, f"{self.name} runs as process {head.pid}"))

    def _note_exit(self, now: float, actions: list[Action]) -> None:
        """Log that the process has exited, unless this agent had it restarted."""
        if self._serving and self.state != "recovering":
            self._trouble_at = now
            actions.append(Action(LOG, f"noticed: {self.name}'s process has ended; systemd starts it again"))
        self._serving = False

    def _step_inactive(self, now: float, head: HeadObservation, hold: str, actions: list[Action]) -> None:
        if head.active in ("activating", "deactivating", "reloading") or head.job:
            # A manual stop shows here first, as a job.
            if head.sub == "auto-restart" and self._serving:
                self._note_exit(now, actions)
                if not hold and not self.backoff.wait(now):
                    # Systemd would pause before the start; the start itself waits for the workers.
                    self.backoff.note(now)
                    self.causes[EXITED] += 1
                    actions.append(Action(RESTART, "its process has ended", gently=True))
            self._set(self.state if self.state == "recovering" else "starting", self.reason)
            return
        if head.active == "active":
            # The process has exited, and systemd has not reported it yet.
            return
        if self._was_active or self.state != "stopped":
            actions.append(Action(LOG, f"{self.name}'s unit is {head.active}: it was stopped, and stays so"))
        self._was_active, self._serving, self._trouble_at = False, False, None
        self._process = (0, 0.0)
        self._set("stopped")

    def _step_running(
        self,
        now: float,
        head: HeadObservation,
        peers: Peers,
        hold: str,
        probe: ProbeResult | None,
        actions: list[Action],
    ) -> None:
        process, requested_at = self._restart_requested
        if process == self._process and now - requested_at < RESTART_TIMEOUT_S:
            return
        if head.state == TRACED:
            self._restart_timers(now)
        self._liveness.update_cpu(now, head)
        suspicion = self._liveness.suspicion(now, head)
        problems = self._peers.problems(now, head, peers, self._liveness.token_at, actions)
        self._notices.log_once("held", f"held: {hold}" if hold else "", actions)
        if hold:
            self._restart_timers(now)
            self._set("held", hold)
            return
        problem = "; ".join(problems) or self._liveness.standstill(now, head)
        if problem:
            self._restart(now, problem, LOST_WORKER if problems else STANDSTILL, actions)
            return
        self._probe(now, suspicion, probe, actions)
        if self._hung:
            self._restart(now, f"{self.name} is hung: {self._hung}, and no token came", HUNG, actions)
        elif head.health == "ok":
            self._serve(now, head, peers, actions)
        elif self._serving and head.health in MUTE:
            self._set("mute", "its API does not answer")
        else:
            self._set("recovering" if self.state == "recovering" else "loading", self.reason)

    def _probe(self, now: float, suspicion: str, probe: ProbeResult | None, actions: list[Action]) -> None:
        """Request a completion from a head under suspicion: it is hung if none comes and the suspicion lasts."""
        if self._probing and probe is not None:
            text = "" if probe.asked else f"no completion can be asked for: {probe.detail}"
            self._notices.log_once("unasked", text, actions)
            if probe.asked and not probe.answered and suspicion:
                actions.append(Action(LOG, f"a completion was not answered: {probe.detail}"))
                self._hung = suspicion
            self._probing = ""
            self._liveness.note_probe(now, probe)
        elif suspicion and not self._probing:
            self._probing = suspicion
            actions.append(Action(PROBE, suspicion))

    def _serve(self, now: float, head: HeadObservation, peers: Peers, actions: list[Action]) -> None:
        """Note that the head serves, and drain it if a worker runs another release."""
        if not self._serving:
            self._serving = True
            took = "" if self._trouble_at is None else f", {now - self._trouble_at:.1f} seconds after it was noticed"
            actions.append(Action(LOG, f"{self.name} serves{took}"))
        self._trouble_at = None
        self._notices.forget("trouble")
        mixed = self._peers.other_release(head, peers)
        if not mixed:
            self._draining_since = None
            self._set("watching")
            return
        if self._draining_since is None:
            self._draining_since = now
            actions.append(Action(LOG, f"noticed: {mixed}; running requests have {self.limits.drain_s:g} seconds"))
        self._set("draining", mixed)
        if head.busy <= 0 or now - self._draining_since >= self.limits.drain_s:
            self._peers.note_drained(head, peers)
            self._restart(now, mixed, OTHER_RELEASE, actions, gently=True)

    def _restart(self, now: float, reason: str, cause: str, actions: list[Action], gently: bool = False) -> None:
        if self._trouble_at is None:
            self._trouble_at = now
        self._notices.log_once("trouble", f"noticed: {reason}", actions)
        if self.backoff.wait(now) > 0:
            recoveries = f"{self.backoff.count} recoveries one after the other"
            text = f"{recoveries}: the next one waits {self.backoff.pause:g} seconds"
            self._notices.log_once("backoff", text, actions)
            self._set("waiting", reason)
            return
        self._notices.forget("backoff", "trouble")
        self.backoff.note(now)
        self._restart_requested = (self._process, now)
        self.recoveries += 1
        self.causes[cause] += 1
        self._probing, self._draining_since = "", None
        self._set("recovering", reason)
        actions.append(Action(RESTART, reason, gently))
