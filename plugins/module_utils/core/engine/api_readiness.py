# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to go on waiting for a head, and when it is in vain."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import HerdError, InvalidInputError, MismatchError, RemoteFailureError

READY = "ready"
#: So many restarts of the unit while somebody waits are a crash loop; one may be a worker that came late.
CRASHES = 3
#: What the engine says when it cannot have its port (its tools/server; tests/engine/test_messages.py holds it).
PORT_TAKEN = "couldn't bind HTTP server socket"
#: Seconds for which the kernel keeps closed connections of the server before (TIME_WAIT, 60), and one more start.
#: Releases bind with other flags (SO_REUSEPORT, SO_REUSEADDR), and one of other flags gets no port until then.
PORT_HELD_S = 90
MIB = 1 << 20


@dataclass(frozen=True)
class ApiProbe:
    """One look at a head.

    :param state: refused, silent, loading, ready, C(status N) or C(insecure (why)), as the API's client names it.
    :param active: the unit's state as systemd names it; empty where no unit is looked at.
    :param strangers: processes beside the unit's own that listen at its port.
    :param port_taken: whether the unit's last words were that it cannot have its port.
    """

    state: str
    active: str = ""
    restarts: int = 0
    strangers: tuple[str, ...] = ()
    port_taken: bool = False


@dataclass
class ReadinessWait:
    """What was met while waiting.

    :param limit_s: seconds after which it ends.
    """

    limit_s: float
    unit: str = ""
    states: list[str] = field(default_factory=list)
    first_restarts: int | None = None

    def see(self, look: ApiProbe, elapsed_s: float) -> HerdError | None:
        """Take one look in; an error where nothing is left to wait for."""
        if not self.states or self.states[-1] != look.state:
            self.states.append(look.state)
        # A start that came too early for its port is no crash of what comes after it.
        if self.first_restarts is None or (look.port_taken and elapsed_s < PORT_HELD_S):
            self.first_restarts = look.restarts
        return self._foreign(look) or (None if look.state == READY else self._hopeless(look, elapsed_s))

    def is_over(self) -> bool:
        """Whether the head is ready."""
        return bool(self.states) and self.states[-1] == READY

    def _way(self) -> str:
        return " \u2192 ".join(self.states)

    def _foreign(self, look: ApiProbe) -> HerdError | None:
        if look.strangers:
            return MismatchError(
                f"only {self.unit} to listen at its port",
                f"{', '.join(look.strangers)} too",
                "end that process; the kernel gives it a share of the requests",
            )
        if look.state.startswith("status"):
            return MismatchError(
                "/health of a llama-server, which is 200, or 503 while it loads",
                self._way(),
                "see what listens at that port (ss -ltnp); it is another program, or a proxy in front of it",
            )
        if look.state.startswith("insecure"):
            return MismatchError(
                "the head to show the certificate that is trusted",
                self._way(),
                "run site.yml, which gives head and clients the same one",
            )
        return None

    def _hopeless(self, look: ApiProbe, elapsed_s: float) -> HerdError | None:
        crashes = look.restarts - (self.first_restarts or 0)
        if look.active in ("failed", "inactive"):
            return RemoteFailureError(
                f"{self.unit} to run while its model loads",
                f"{look.active} after {elapsed_s:.0f} s ({self._way()})",
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
                remedies.get(look.state, "look at its journal"),
            )
        return None


def limit(timeout_s: float, model_bytes: int, mib_per_s: float) -> float:
    """Seconds that loading may take: what its size takes at the slowest rate, and some on top.

    :param model_bytes: 0 where nobody knows.
    """
    if mib_per_s <= 0:
        raise InvalidInputError("load_mib_per_s above 0", f"{mib_per_s:g}", "write the slowest rate that is acceptable")
    return round(timeout_s + model_bytes / MIB / mib_per_s, 1)


def check_slots(wanted: int, total: int | None) -> None:
    """Stop where the head has other request slots than the inventory says; 0 does not hold it."""
    if wanted and total is not None and total != wanted:
        raise MismatchError(
            f"{wanted} request slots", str(total), "run site.yml, which restarts a head with other settings"
        )


def check_reasoning(wanted: bool | None, reasoning: str, text: str) -> None:
    """Stop where the model reasons and should not, or the other way round; None does not hold it."""
    if wanted is None or bool(reasoning) is wanted:
        return
    raise MismatchError(
        "reasoning_content in the answer" if wanted else "an answer without reasoning_content",
        "an answer without" if wanted else f"{len(reasoning)} of {len(text)} characters of it",
        "look at the model's chat template and at --reasoning-format",
    )
