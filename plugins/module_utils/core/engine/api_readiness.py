# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide how long to wait for a head to serve, and when waiting is useless."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import HerdError, InvalidInputError, MismatchError, RemoteFailureError

READY = "ready"
#: Restarts of the unit during the wait that count as a crash loop. A late worker may cause one or two.
CRASHES = 3
#: Message of the engine that cannot bind its port (tools/server; verified by tests/engine/test_messages.py).
PORT_TAKEN = "couldn't bind HTTP server socket"
#: Seconds for which the port may stay taken: TIME_WAIT of former connections (60), and one more start. Releases bind
#: with different flags (SO_REUSEPORT, SO_REUSEADDR), and a release with other flags must wait for that.
PORT_HELD_S = 90
MIB = 1 << 20


@dataclass(frozen=True)
class ApiProbe:
    """The state of a head at one moment.

    :param state: refused, silent, loading, ready, C(status N) or C(insecure (why)), as the API's client names it.
    :param active: the unit's state in systemd; empty if no unit is checked.
    :param strangers: processes outside the unit that listen on its port.
    :param port_taken: whether the unit's log ends with a failed bind of its port.
    """

    state: str
    active: str = ""
    restarts: int = 0
    strangers: tuple[str, ...] = ()
    port_taken: bool = False


@dataclass
class ReadinessWait:
    """The states of a head during a wait.

    :param limit_s: seconds after which the wait ends.
    """

    limit_s: float
    unit: str = ""
    states: list[str] = field(default_factory=list)
    first_restarts: int | None = None

    def see(self, probe: ApiProbe, elapsed_s: float) -> HerdError | None:
        """Record a probe. Return an error if waiting longer is useless."""
        if not self.states or self.states[-1] != probe.state:
            self.states.append(probe.state)
        # A start that failed because of a taken port does not count as a crash.
        if self.first_restarts is None or (probe.port_taken and elapsed_s < PORT_HELD_S):
            self.first_restarts = probe.restarts
        return self._foreign(probe) or (None if probe.state == READY else self._hopeless(probe, elapsed_s))

    def is_over(self) -> bool:
        """Return whether the head is ready."""
        return bool(self.states) and self.states[-1] == READY

    def _way(self) -> str:
        return " \u2192 ".join(self.states)

    def _foreign(self, probe: ApiProbe) -> HerdError | None:
        if probe.strangers:
            return MismatchError(
                f"only {self.unit} to listen at its port",
                f"{', '.join(probe.strangers)} too",
                "end that process; the kernel gives it a share of the requests",
            )
        if probe.state.startswith("status"):
            return MismatchError(
                "/health of a llama-server, which is 200, or 503 while it loads",
                self._way(),
                "see what listens at that port (ss -ltnp); it is another program, or a proxy in front of it",
            )
        if probe.state.startswith("insecure"):
            return MismatchError(
                "the head to show the certificate that is trusted",
                self._way(),
                "run site.yml, which gives head and clients the same one",
            )
        return None

    def _hopeless(self, probe: ApiProbe, elapsed_s: float) -> HerdError | None:
        crashes = probe.restarts - (self.first_restarts or 0)
        if probe.active in ("failed", "inactive"):
            return RemoteFailureError(
                f"{self.unit} to run while its model loads",
                f"{probe.active} after {elapsed_s:.0f} s ({self._way()})",
                f"mend what journalctl -u {self.unit} -n 50 names, and start it",
            )
        if crashes >= CRASHES:
            return RemoteFailureError(
                f"{self.unit} to load its model",
                f"{crashes} restarts in {elapsed_s:.0f} s ({self._way()})",
                f"mend what journalctl -u {self.unit} -n 50 names; it would crash for ever",
            )
        if elapsed_s >= self.limit_s:
            remedies = {
                "loading": "give it more time (timeout, load_mib_per_s) if the disk is slow, or see why it is",
                "silent": "its process hangs; restart it, and look at its workers",
                "refused": "start it, and see whether it still waits for workers",
            }
            return RemoteFailureError(
                f"the head to be ready within {self.limit_s:g} seconds",
                self._way(),
                remedies.get(probe.state, "look at its journal"),
            )
        return None


def limit(timeout_s: float, model_bytes: int, mib_per_s: float) -> float:
    """Compute the seconds that a model may take to load: its size at the slowest rate, plus a base.

    :param timeout_s: the base.
    :param model_bytes: 0 if unknown.
    """
    if mib_per_s <= 0:
        raise InvalidInputError("load_mib_per_s above 0", f"{mib_per_s:g}", "write the slowest rate that is acceptable")
    return round(timeout_s + model_bytes / MIB / mib_per_s, 1)


def check_slots(wanted: int, total: int | None) -> None:
    """Reject a head whose request slots differ from the inventory. A wanted number of 0 skips the check."""
    if wanted and total is not None and total != wanted:
        raise MismatchError(
            f"{wanted} request slots", str(total), "run site.yml, which restarts a head with other settings"
        )


def check_speculation(wanted: bool, speculative: bool | None) -> None:
    """Reject a head that is to speculate and does not.

    The engine then serves as if nothing were wrong, and only its log says why.

    :param speculative: whether all slots speculate, by C(/slots); None if it is unknown.
    """
    if not wanted or speculative:
        return
    raise MismatchError(
        "a head that speculates (speculative in the answer of /slots)",
        "speculation is silently off" if speculative is False else "an answer without it",
        "look for the draft in journalctl -u llama-head: another vocabulary, or a draft that was not loaded; "
        "or remove speculation from the settings"
        if speculative is False
        else "remove --no-slots from extra_arguments, or speculation from the settings",
    )


def check_reasoning(wanted: bool | None, reasoning: str, text: str) -> None:
    """Reject an answer with reasoning that is not wanted, or without reasoning that is. None skips the check."""
    if wanted is None or bool(reasoning) is wanted:
        return
    raise MismatchError(
        "reasoning_content in the answer" if wanted else "an answer without reasoning_content",
        "an answer without" if wanted else f"{len(reasoning)} of {len(text)} characters of it",
        "look at the model's chat template and at --reasoning-format",
    )
