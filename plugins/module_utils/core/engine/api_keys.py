# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of the file of API keys, and how one key follows another.

The engine reads the file when it starts, and never again. So the first line is the key that is in use, and the
second one is a spare that the running engine knows already and nobody has been given: a rotation begins by
putting the spare first, without a restart. The former key goes on being accepted until the rotation is
finished; that takes a restart, since nothing else makes the engine forget it.

Which of two lines is the spare and which the former key is said by the keys themselves: each that is made here
has a number, and a spare has a higher one than the key in use. Thus there is no second file to disagree with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from ..errors import InvalidInputError

#: What begins the company of a key that was given: nobody is ever given it.
COMPANY = "unused-"
_NUMBERED = re.compile(r"herd-([0-9]+)-")
# What a header of HTTP carries as it is, whoever writes it.
_PRINTABLE = re.compile(r"[!-~]+")

STEPS = ("none", "begin", "finish")


def check(keys: Sequence[str]) -> None:
    """Stop at keys that the engine would read differently."""
    if any(not _PRINTABLE.fullmatch(key) or key.startswith(("#", COMPANY)) for key in keys):
        raise InvalidInputError(
            f"API keys of printable ASCII without blanks, and none that begins with # or {COMPANY}",
            "another kind",
            "correct head_server_api_keys",
        )


def generation(key: str) -> int:
    """Say which key in a row this is; one that was given, or made before there were numbers, comes before all."""
    if key.startswith(COMPANY):
        return 1
    match = _NUMBERED.match(key)
    return int(match[1]) if match else 0


def is_rotating(held: Sequence[str]) -> bool:
    """Say whether a former key is still accepted beside the one in use."""
    return any(generation(key) <= generation(held[0]) for key in held[1:])


def _spare(held: Sequence[str], fresh: Callable[[], str]) -> str:
    return f"herd-{max(map(generation, held)) + 1}-{fresh()}"


def generated(held: Sequence[str], step: str, fresh: Callable[[], str]) -> list[str]:
    """Say which keys the file must hold where none are given."""
    keys = list(held) or [f"herd-1-{fresh()}"]
    if is_rotating(keys):
        return keys if step != "finish" else [keys[0], _spare(keys, fresh)]
    if len(keys) == 1:
        keys = [keys[0], _spare(keys, fresh)]
    return [keys[1], keys[0]] if step == "begin" else keys


def given(held: Sequence[str], keys: Sequence[str], fresh: Callable[[], str]) -> list[str]:
    """Say which keys the file must hold: those, and company for an only one."""
    check(keys)
    if len(keys) > 1:
        return list(keys)
    company = [key for key in held if key.startswith(COMPANY)]
    return [*keys, *(company[:1] or [COMPANY + fresh()])]


def content(existing: str, keys: Sequence[str], step: str, fresh: Callable[[], str]) -> str:
    """Write the file. The engine puts the end of an only key into its log, so there are always two."""
    held = existing.split()
    wanted = given(held, keys, fresh) if keys else generated(held, step, fresh)
    return "".join(f"{key}\n" for key in wanted)


def fingerprint(text: str) -> str:
    """Name what the engine must have read: the set of keys, not their order."""
    return hashlib.sha256("\n".join(sorted(text.split())).encode()).hexdigest()[:16]
