# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent observes: the head and the worker on its own host, and the heartbeats of other nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .heartbeat import Heartbeat

# The kernel's letters for a process that was stopped, and for one that a debugger holds.
STOPPED, TRACED = "T", "t"
# States of an API that gives no answer.
MUTE = ("silent", "refused")


@dataclass(frozen=True)
class PeerObservation:
    """The result of one request for a node's heartbeat.

    :param kind: C(heartbeat); C(refused): the host answers and its agent does not; C(bad): something else answered;
        C(silent): nothing answered.
    :param at: when the answer came; None stands for the time of the evaluation.
    """

    kind: str
    heartbeat: Heartbeat | None = None
    detail: str = ""
    at: float | None = None


@dataclass(frozen=True)
class HeadObservation:
    """The head as its own host sees it.

    :param links: established connections to each worker, as C(address:port) of this end.
    :param slots_known: None if the slots did not answer in time, False if this head does not show them.
    :param progress: changes whenever a token was made or a part of a prompt was read; counts if the slots are known.
    :param state: the kernel's letter for the state of the process.
    :param cpu_s: processor time that the process has used.
    :param may_sleep: whether it releases its workers, or its memory, when it is idle.
    """

    active: str = "inactive"
    sub: str = "dead"
    job: bool = False
    pid: int = 0
    started: float = 0.0
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
class WorkerObservation:
    """The worker as its own host sees it.

    :param state: the kernel's letter for the state of the process.
    :param stale: number of connections that the client has closed and the worker has not.
    """

    active: str
    job: bool
    pid: int
    started: float
    state: str
    stale: int


@dataclass(frozen=True)
class ProbeResult:
    """The result of a completion that the agent requested.

    :param asked: whether the request could be sent at all; if not, it tells nothing about the head.
    """

    answered: bool
    detail: str = ""
    asked: bool = True
