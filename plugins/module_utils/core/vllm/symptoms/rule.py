# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule that recognises one cause in a line of vLLM's log, and what the log says about the run's settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

#: How much a rule explains. A cause explains a death by itself; a consequence follows from a cause, which may stand in
#: another rank's lines; a warning ends nothing by itself.
CAUSE, CONSEQUENCE, WARNING = 0, 1, 2

_SETTINGS = {
    "gpu_memory_utilization": re.compile(r"'gpu_memory_utilization': ([0-9](?:\.[0-9]{1,9})?)(?![0-9.])"),
    "max_model_len": re.compile(r"'max_model_len': ([0-9]{1,12})(?![0-9])"),
    "max_num_seqs": re.compile(r"'max_num_seqs': ([0-9]{1,12})(?![0-9])"),
    "tensor_parallel_size": re.compile(r"'tensor_parallel_size': ([0-9]{1,12})(?![0-9])"),
}
#: vLLM's own default, where the arguments name none.
_UTILIZATION = 0.9


@dataclass
class Settings:
    """Values that a run's log names, by vLLM's names. C(loaded) says whether the weights were in memory."""

    values: dict[str, float] = field(default_factory=dict)
    loaded: bool = False

    def read(self, line: str) -> None:
        """Take the values of a line."""
        if "non-default args:" in line:
            for name, pattern in _SETTINGS.items():
                if found := pattern.search(line):
                    self.values[name] = float(found[1])
        self.loaded = self.loaded or "Model loading took" in line

    @property
    def utilization(self) -> float:
        """Return the share of the GPU's memory that vLLM may use."""
        return self.values.get("gpu_memory_utilization", _UTILIZATION)

    def whole(self, name: str) -> int:
        """Return a whole number; zero if the log does not name it."""
        return int(self.values.get(name, 0))


#: Makes a text from the match and the settings of the run.
Explain = Callable[["re.Match[str]", Settings], str]


@dataclass(frozen=True)
class Rule:
    """How a cause is recognised and explained.

    :ivar words: a part of each line that C(pattern) matches, in lower case. It finds lines quickly.
    :ivar reason, cure: without a full stop: a format with the groups of C(pattern), or a function.
    :ivar page: a page of docs/operations/vllm, without its suffix.
    :ivar is_permanent: whether another start with the same settings and the same model fails in the same way.
    """

    name: str
    words: str
    pattern: re.Pattern[str]
    reason: str | Explain
    cure: str | Explain
    page: str
    weight: int = CAUSE
    is_permanent: bool = False

    def explain(self, found: re.Match[str], settings: Settings) -> tuple[str, str] | None:
        """Return the reason and the cure for a line; None if its numbers are none, such as C(1.2.3) or a total of 0.

        vLLM does not print such a line itself. A prompt in the log may hold one.
        """
        groups = {name: value or "?" for name, value in found.groupdict().items()}
        try:
            reason, cure = (
                text.format(**groups) if isinstance(text, str) else text(found, settings)
                for text in (self.reason, self.cure)
            )
        except (ArithmeticError, ValueError):
            return None
        return reason, cure


def rule(
    name: str,
    words: str,
    pattern: str,
    reason: str | Explain,
    cure: str | Explain,
    page: str,
    weight: int = CAUSE,
    is_permanent: bool = False,
) -> Rule:
    """Make a rule; the pattern is searched without regard to case."""
    return Rule(name, words.lower(), re.compile(pattern, re.IGNORECASE), reason, cure, page, weight, is_permanent)
