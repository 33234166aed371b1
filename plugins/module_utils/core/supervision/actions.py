# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent is to do, with the reasons that it logs."""

from __future__ import annotations

from dataclasses import dataclass

LOG = "log"
RESTART = "restart"
PROBE = "probe"


@dataclass(frozen=True)
class Action:
    """One action and its reason: C(log), C(restart) or C(probe).

    :param gently: whether running requests may complete, because they can; and a stopped unit stays stopped.
    """

    kind: str
    reason: str
    gently: bool = False


class Notices:
    """Log messages by topic: a message is logged when it differs from the last one of its topic."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def log_once(self, topic: str, text: str, actions: list[Action]) -> None:
        """Log a message unless it is the last one of its topic; an empty one only ends the topic."""
        if self._last.get(topic) != text:
            self._last[topic] = text
            if text:
                actions.append(Action(LOG, text))

    def forget(self, *topics: str) -> None:
        """Log the next message of these topics in any case."""
        for topic in topics:
            self._last.pop(topic, None)
