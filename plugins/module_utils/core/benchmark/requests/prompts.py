# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the prompts of a benchmark.

Fixed prompts are the same in every run of every site, so results can be compared. Each request begins with a number of
its own: otherwise, the engine's prompt cache would answer for the engine. Filler text is made of common words in an
order that a seed decides, so that a draft model or an n-gram table meets text that is neither random bytes nor a loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

#: Document 002 asks for a short, a long and a code prompt.
FIXED = {
    "short": "Name three advantages of a service that runs on one's own machines, in one sentence each.",
    "long": (
        "You advise a laboratory that owns three servers, each with one GPU of 32 GB, joined by InfiniBand. It wants "
        "to offer a language model of 72 billion parameters to forty researchers. Explain how the layers of the model "
        "are divided over the servers, what travels over the network for each token, what limits the speed of a "
        "single answer and of many answers at once, how a failed server is noticed and replaced, and which figures "
        "the operators should watch every day. Close with a table of the risks, each with its cure."
    ),
    "code": (
        "Write a function in Python that reads a log file of any size, counts requests by user and by hour, and prints "
        "the ten most active users with their counts. Lines that cannot be parsed are counted, not fatal. Add a unit "
        "test for an empty file, for a broken line and for two users with equal counts."
    ),
}

#: What the assistant is made to have said after a context.
READ = "I have read it."

_COMMON_WORDS = (
    "the of and a to in is that for on with as by at from this which are be or an it was not have their its more "
    "system node memory model layer network answer token request time value order part group state result data rule "
    "between after before during without while other first last large small same new each every many both such open "
    "reads writes sends keeps holds moves starts ends waits grows counts returns follows needs shows gives takes finds"
)
_WORDS = tuple(_COMMON_WORDS.split())


def _numbers(seed: str) -> Iterator[int]:
    """Return an endless sequence of bytes that depends on the seed alone."""
    block = 0
    while True:
        yield from hashlib.sha256(f"{seed}:{block}".encode()).digest()
        block += 1


def filler(words: int, seed: str) -> str:
    """Return that many words in sentences; the same for the same seed."""
    made: list[str] = []
    numbers = _numbers(seed)
    while len(made) < words:
        sentence = [_WORDS[next(numbers) % len(_WORDS)] for _word in range(8 + next(numbers) % 9)]
        sentence[0] = sentence[0].capitalize()
        sentence[-1] += "."
        made += sentence
    return " ".join(made[:words])


def fixed(kind: str, seed: str) -> str:
    """Return a fixed prompt, after a line that no other request has."""
    return f"Request {_tag(seed)}.\n\n{FIXED[kind]}"


def greeting(seed: str) -> str:
    """Return a prompt of a few tokens."""
    return f"Request {_tag(seed)}. Say hello."


def sized(words: int, seed: str) -> str:
    """Return a prompt of that many words of filler, with a task before it."""
    return f"Request {_tag(seed)}. Continue this text in the same style.\n\n{filler(words, seed)}"


def _tag(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()[:12]


def words_for(tokens: int, words: int, measured: int) -> int:
    """Return how many words make the wanted number of tokens, from a first measurement.

    :param words: words of filler in the measured request.
    :param measured: tokens that the engine counted for it, with those of the chat template.
    """
    return max(1, round(words + (tokens - measured) * words / max(measured, 1)))
