# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of API keys of an engine, and the rotation of its keys.

The engine reads the file once, when it starts. The first line is the key in use. The second line is a spare key: the
running engine accepts it already, and no client has it. A rotation begins by putting the spare first, which needs no
restart. The former key remains valid until the rotation is finished by a restart, the only way to make the engine
forget it.

Generated keys are numbered, and the spare has a higher number than the key in use. So the keys themselves tell a spare
from a former key, and no second file can disagree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from ..errors import InvalidInputError

#: Prefix of the key that accompanies a single given key. No client ever gets it.
COMPANION = "unused-"
_NUMBERED = re.compile(r"herd-([0-9]+)-")
# Characters that an HTTP header carries unchanged.
_PRINTABLE = re.compile(r"[!-~]+")

STEPS = ("none", "begin", "finish")


def first(text: str) -> str:
    """Read the first key of a key file; empty if it has none."""
    return next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "")


def in_use(text: str, path: str, remedy: str) -> str:
    """Read the first key of a key file, for the header of a request; empty if the file has none.

    :param text: the file's content; its bytes may be decoded as Latin-1, which never fails.
    :param path: the file's name, for the error.
    :param remedy: the next step if the key is unusable.
    :raises InvalidInputError: if HTTP cannot carry the key.
    """
    key = first(text)
    if key and not _PRINTABLE.fullmatch(key):
        raise InvalidInputError(f"a key of printable ASCII without blanks in {path}", "other characters", remedy)
    return key


def check(keys: Sequence[str]) -> None:
    """Reject keys that the engine would read differently."""
    if any(not _PRINTABLE.fullmatch(key) or key.startswith(("#", COMPANION)) for key in keys):
        raise InvalidInputError(
            f"API keys of printable ASCII without blanks, and none that begins with # or {COMPANION}",
            "another kind",
            "correct head_server_api_keys",
        )


def generation(key: str) -> int:
    """Return the number of a generated key; 0 for a given one."""
    if key.startswith(COMPANION):
        return 1
    match = _NUMBERED.match(key)
    return int(match[1]) if match else 0


def is_rotating(held: Sequence[str]) -> bool:
    """Return whether the engine still accepts a former key beside the one in use."""
    return any(generation(key) <= generation(held[0]) for key in held[1:])


def _spare(held: Sequence[str], fresh: Callable[[], str]) -> str:
    return f"herd-{max(map(generation, held)) + 1}-{fresh()}"


def generated(held: Sequence[str], step: str, fresh: Callable[[], str]) -> list[str]:
    """Return the keys that the file must hold if none are given."""
    keys = list(held) or [f"herd-1-{fresh()}"]
    if is_rotating(keys):
        return keys if step != "finish" else [keys[0], _spare(keys, fresh)]
    if len(keys) == 1:
        keys = [keys[0], _spare(keys, fresh)]
    return [keys[1], keys[0]] if step == "begin" else keys


def given(held: Sequence[str], keys: Sequence[str], fresh: Callable[[], str]) -> list[str]:
    """Return the keys that the file must hold: the given ones, and a companion for a single one."""
    check(keys)
    if len(keys) > 1:
        return list(keys)
    companion = [key for key in held if key.startswith(COMPANION)]
    return [*keys, *(companion[:1] or [COMPANION + fresh()])]


def content(existing: str, keys: Sequence[str], step: str, fresh: Callable[[], str]) -> str:
    """Compose the text of the file.

    It always holds two keys, because the engine logs the end of a single key.
    """
    held = existing.split()
    wanted = given(held, keys, fresh) if keys else generated(held, step, fresh)
    return "".join(f"{key}\n" for key in wanted)


def fingerprint(text: str) -> str:
    """Hash the set of keys that the engine must have read, whatever their order."""
    return hashlib.sha256("\n".join(sorted(text.split())).encode()).hexdigest()[:16]
