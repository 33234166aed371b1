# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the runs of a benchmark: its cases, their repetitions and their order.

A case is one point of the sweep: a kind of prompt, its length, the depth of the context before it, and the number of
clients at once. The repetitions of all cases are interleaved, so that a machine that grows slower, by heat or by a
neighbour, does so for every case alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from ..values import finite

#: Kinds of prompts that come with the collection: those of documents 001 and 002.
KINDS = ("short", "long", "code")
#: The kind of a prompt whose number of tokens is given.
SIZED = "sized"
MOST_CASES = 500
MOST_CLIENTS = 1024
MOST_REPETITIONS = 100
MOST_TOKENS = 1 << 20
_REMEDY = "correct the variables that begin with benchmark_"


@dataclass(frozen=True)
class Case:
    """One point of a sweep.

    :ivar kind: a kind of C(KINDS), or C(SIZED).
    :ivar prompt_tokens: length of a sized prompt; 0 for a fixed one.
    :ivar depth: tokens of context before the prompt.
    :ivar clients: requests that run at once.
    :ivar output_tokens: most tokens of an answer.
    """

    kind: str
    prompt_tokens: int
    depth: int
    clients: int
    output_tokens: int

    @property
    def label(self) -> str:
        """Return a label such as C(sized-512 d4096 c8): a key of results, equal in every run of the same case."""
        words = [f"{self.kind}-{self.prompt_tokens}" if self.kind == SIZED else self.kind]
        if self.depth:
            words.append(f"d{self.depth}")
        words.append(f"c{self.clients}")
        return " ".join(words)


@dataclass(frozen=True)
class Run:
    """One repetition of a case. Repetition 0 is the warm-up, whose figures are not kept."""

    case: Case
    repetition: int


def _numbers(settings: Mapping[str, Any], key: str, least: int, most: int) -> list[int]:
    given = settings.get(key)
    found = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for one in found:
        if finite(one, least, most) is None or not isinstance(one, int):
            raise InvalidInputError(f"whole numbers from {least} to {most} in benchmark_{key}", repr(one), _REMEDY)
    if not found or len(set(found)) != len(found):
        raise InvalidInputError(f"different numbers in benchmark_{key}", repr(given), _REMEDY)
    return list(found)


def cases(settings: Mapping[str, Any]) -> list[Case]:
    """Return the cases of a sweep, from C(prompts), C(prompt_tokens), C(depths), C(clients) and C(output_tokens).

    :raises InvalidInputError: for a value of the wrong type or outside its range, and for a sweep that is too large.
    """
    kinds = settings.get("prompts")
    if not isinstance(kinds, Sequence) or isinstance(kinds, str) or not set(kinds) <= {*KINDS, SIZED} or not kinds:
        raise InvalidInputError(f"a list of {', '.join((*KINDS, SIZED))} in benchmark_prompts", repr(kinds), _REMEDY)
    depths = _numbers(settings, "depths", 0, MOST_TOKENS)
    clients = _numbers(settings, "clients", 1, MOST_CLIENTS)
    (output,) = _numbers({"output_tokens": [settings.get("output_tokens")]}, "output_tokens", 2, MOST_TOKENS)
    made = []
    for kind in dict.fromkeys(kinds):
        lengths = _numbers(settings, "prompt_tokens", 1, MOST_TOKENS) if kind == SIZED else [0]
        made += [Case(kind, length, depth, many, output) for length in lengths for depth in depths for many in clients]
    if len(made) > MOST_CASES:
        raise InvalidInputError(f"at most {MOST_CASES} cases", str(len(made)), _REMEDY)
    return made


def runs(planned: Sequence[Case], repetitions: int) -> list[Run]:
    """Return the runs in their order: one warm-up of each case, then one repetition of each case after the other.

    :raises InvalidInputError: if the number of repetitions is none from 1 to 100.
    """
    if finite(repetitions, 1, MOST_REPETITIONS) is None or not isinstance(repetitions, int):
        raise InvalidInputError(
            f"a whole number from 1 to {MOST_REPETITIONS} as benchmark_repetitions", repr(repetitions), _REMEDY
        )
    return [Run(case, number) for number in range(repetitions + 1) for case in planned]
