# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the hashes of user keys, and find the key of a request.

A key has 256 random bits, so a plain hash is enough: there is nothing to guess, and a slow hash would only make the
gateway easier to overload.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError

SCHEMA = 1
#: The prefix of all keys, by which scanners recognise a leaked one.
PREFIX = "herd-"
#: Longest text that is hashed.
LONGEST = 512
#: Longest name of a user or of a project.
LONGEST_NAME = 64
ACTIVE, REVOKED = "active", "revoked"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_CLASS = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class UserKey:
    """A key as the gateway knows it, without its text.

    :ivar id: names the key in the log. A user may have several keys, each with its own id.
    :ivar limits: its class of limits.
    :ivar tiers: the tiers that it allows; all if empty.
    :ivar project: the project that its usage counts for; empty for none.
    :ivar expires: UNIX time from which it is rejected; None for never.
    """

    id: str
    user: str
    sha256: str
    limits: str = "default"
    tiers: tuple[str, ...] = ()
    expires: float | None = None
    revoked: bool = False
    project: str = ""


@dataclass(frozen=True)
class UserKeys:
    """All keys, and the ids of keys that were revoked on this host."""

    keys: tuple[UserKey, ...] = ()
    revoked: frozenset[str] = frozenset()


def sha256(key: str) -> str:
    """Return the hash that is stored for a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key(fresh: Callable[[], str]) -> str:
    """Make a new key from a random text."""
    return PREFIX + fresh()


def _problem(expected: str, found: str) -> InvalidInputError:
    return InvalidInputError(expected, found, "correct gateway_keys; `herdctl key new` writes such an entry")


def _moment(identity: str, given: Any) -> float | None:
    """Read the expiry of a key; only a missing value means never."""
    if given is None:
        return None
    try:
        moment = float(given)
    except (TypeError, ValueError):
        moment = math.nan
    if not math.isfinite(moment):
        raise _problem(f"a UNIX time in seconds at which the key {identity} expires", repr(given))
    return moment


def parse(
    entries: Sequence[Mapping[str, Any]], classes: Collection[str], tiers: Collection[str]
) -> tuple[UserKey, ...]:
    """Read and check the entries of the inventory.

    :raises InvalidInputError: for an entry that could not work, or would allow more than it says.
    """
    keys: list[UserKey] = []
    for entry in entries:
        identity = str(entry.get("id", ""))
        if not _NAME.fullmatch(identity):
            raise _problem("an id of letters, digits and . _ @ - for each key", repr(identity))
        digest = str(entry.get("sha256", ""))
        if not _HASH.fullmatch(digest):
            raise _problem(f"a SHA-256 of 64 lower-case hexadecimal digits for the key {identity}", "something else")
        names = {name: str(entry.get(name) or "") for name in ("user", "project")}
        for name, text in names.items():
            if len(text) > LONGEST_NAME or not text.isprintable():
                raise _problem(
                    f"a {name} of at most {LONGEST_NAME} printable characters for the key {identity}", repr(text)
                )
        state = str(entry.get("state") or ACTIVE)
        if state not in (ACTIVE, REVOKED):
            raise _problem(f"a state of {ACTIVE} or {REVOKED} for the key {identity}", repr(state))
        key = UserKey(
            id=identity,
            user=names["user"] or identity,
            sha256=digest,
            limits=str(entry.get("limits") or "default"),
            tiers=tuple(map(str, entry.get("tiers") or ())),
            expires=_moment(identity, entry.get("expires")),
            revoked=state == REVOKED,
            project=names["project"],
        )
        if key.limits not in classes:
            raise _problem(f"limits of {', '.join(sorted(classes))} for the key {identity}", repr(key.limits))
        unknown = [name for name in key.tiers if name not in tiers]
        if unknown:
            raise _problem(f"tiers of {', '.join(sorted(tiers))} for the key {identity}", ", ".join(unknown))
        keys.append(key)
    for name, values in (("id", [key.id for key in keys]), ("sha256", [key.sha256 for key in keys])):
        twice = sorted(value for value, count in Counter(values).items() if count > 1)
        if twice:
            raise _problem(f"each {name} once", f"{twice[0][:16]} more than once")
    return tuple(keys)


def parse_revoked(data: Any) -> frozenset[str]:
    """Read the ids of keys that were revoked on this host.

    :raises InvalidInputError: for anything but a list of ids, since revoked keys might be accepted then.
    """
    ids = data.get("revoked") if isinstance(data, dict) else None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise InvalidInputError(
            "a list of ids under revoked",
            "something else",
            "remove the file, and revoke the keys again with `herdctl key revoke`",
        )
    return frozenset(ids)


def check_class(name: str) -> None:
    """Check that nginx can use the name of a class of limits."""
    if not _CLASS.fullmatch(name):
        raise InvalidInputError(
            "names of lower-case letters, digits and _ for classes of limits", repr(name), "correct gateway_limits"
        )


def as_data(keys: Sequence[UserKey]) -> dict[str, Any]:
    """Write the keys as data for the gateway's key file."""
    return {
        "schema": SCHEMA,
        "keys": [
            {
                "id": key.id,
                "user": key.user,
                "project": key.project,
                "sha256": key.sha256,
                "limits": key.limits,
                "tiers": list(key.tiers),
                "expires": key.expires,
                "state": REVOKED if key.revoked else ACTIVE,
            }
            for key in keys
        ],
    }


def shortened(text: str) -> str:
    """Shorten the hashes in a key file to their first digits, for people."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)


def owner(keys: Sequence[UserKey], shown: str) -> UserKey | None:
    """Find a key by its text. All hashes are compared, so that the time reveals nothing."""
    digest = sha256(shown[:LONGEST])
    found: UserKey | None = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found if len(shown) <= LONGEST else None


def refusal(key: UserKey | None, revoked: Collection[str], now: float) -> str:
    """Say why a key is rejected; empty if it is accepted.

    :param revoked: ids that were revoked on this host, without a playbook run.
    :param now: UNIX time.
    """
    if key is None:
        return "unknown"
    if key.revoked or key.id in revoked:
        return "revoked"
    return "expired" if key.expires is not None and now >= key.expires else ""
