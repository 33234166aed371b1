# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpret a response that refuses a request: whether and when to ask again, and the reason that the server gives.

Sources: RFC 9110 (Retry-After), draft-ietf-httpapi-ratelimit-headers (RateLimit, RateLimit-Policy) and the headers
X-Error-Code and X-Error-Message of the Hugging Face Hub.
"""

from __future__ import annotations

import email.utils
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from .. import text
from ..errors import AccessDeniedError

#: Longest code and message of a server that an error repeats, in characters.
LONGEST_CODE = 40
LONGEST_MESSAGE = 200
#: The longest window in seconds that replaces an unknown moment of reset.
LONGEST_WINDOW = 600.0
#: Statuses below 500 that may not occur again, and those from 500 on that will.
PASSING = frozenset({408, 421, 425, 429})
LASTING = frozenset({501, 505, 506, 508, 510, 511})
OVERLOADED = frozenset({429, 503, 509, 529})
#: Numbers above are moments in seconds since 1970, and above the second one in milliseconds.
FIRST_MOMENT = 1e9
FIRST_MILLISECOND = 1e12

_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")
_QUOTED = re.compile(r'"[^"]*"')
_PARAMETER = re.compile(r"(?:^|[;,\s])(r|t|remaining|reset)\s*=\s*([0-9]{1,10})(?![0-9])", re.IGNORECASE)
_WINDOW = re.compile(r";\s*w\s*=\s*([0-9]{1,10})(?![0-9])", re.IGNORECASE)
_RESETS = ("RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset")


class Headers(Protocol):
    """Headers of a response, whose names have no case."""

    def get(self, name: str, /) -> str | None: ...


def may_pass(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in PASSING or (500 <= status < 600 and status not in LASTING)


def pause(headers: Headers, now: float) -> float | None:
    """Return the seconds after which a server wants to be asked again; None if it does not say.

    :param now: seconds since 1970. The time of the response itself counts instead if the server sends it.
    """
    sent = _moment(headers.get("Date"))
    now = now if sent is None else sent
    found = _delay(headers.get("Retry-After"), now)
    if found is None:
        found = _reset(headers.get("RateLimit") or "")
    for name in _RESETS:
        found = _delay(headers.get(name), now) if found is None else found
    return _window(headers.get("RateLimit-Policy") or "") if found is None else found


def _delay(value: str | None, now: float) -> float | None:
    """Read a number of seconds, or a moment as a number or a date."""
    if value is None:
        return None
    if not _NUMBER.fullmatch(value.strip()):
        moment = _moment(value)
        return None if moment is None else max(0.0, moment - now)
    number = float(value)
    if number < FIRST_MOMENT:
        return number
    return max(0.0, (number if number < FIRST_MILLISECOND else number / 1000) - now)


def _moment(value: str | None) -> float | None:
    """Read a date of HTTP."""
    # The parser raises several errors for dates that do not exist.
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        found = email.utils.parsedate_tz((value or "")[:100])
        return None if found is None else float(email.utils.mktime_tz(found))
    return None


def _reset(value: str) -> float | None:
    """Read the longest time to a reset among the exhausted limits, or among all if none is marked as exhausted."""
    value = _QUOTED.sub("", value)
    # An older draft has one limit, whose parameters have long names and are separated by commas.
    is_old = "reset" in value.lower()
    left, wait = ("remaining", "reset") if is_old else ("r", "t")
    exhausted: list[float] = []
    others: list[float] = []
    for limit in [value] if is_old else value.split(","):
        found = {name.lower(): int(number) for name, number in _PARAMETER.findall(limit)}
        if wait in found:
            (exhausted if found.get(left) == 0 else others).append(float(found[wait]))
    return max(exhausted or others, default=None)


def _window(value: str) -> float | None:
    """Read the shortest window of a policy. A server that names only this has reset the limit after it."""
    windows = [float(number) for number in _WINDOW.findall(_QUOTED.sub("", value))]
    return min((window for window in windows if window <= LONGEST_WINDOW), default=None)


@dataclass(frozen=True)
class Refusal:
    """The reason for which a server does not give a file.

    :ivar code: of the Hub (X-Error-Code), for example C(GatedRepo); empty if there is none.
    :ivar message: of the Hub (X-Error-Message); empty if there is none.
    """

    status: int
    code: str
    message: str
    has_token: bool

    @classmethod
    def of(cls, status: int, headers: Headers, has_token: bool) -> Refusal:
        """Read a response. What the server says is bounded and has no control characters."""
        code = text.plain(headers.get("X-Error-Code") or "")[:LONGEST_CODE].strip()
        message = text.plain(headers.get("X-Error-Message") or "")[:LONGEST_MESSAGE].strip()
        return cls(status, code, message, has_token)

    @property
    def said(self) -> str:
        """The server's own words, in brackets after a blank; empty if it says nothing."""
        words = ": ".join(filter(None, (self.code, self.message)))
        return f" ({words})" if words else ""

    @property
    def is_denial(self) -> bool:
        """Whether another token may help."""
        return self.status in (401, 403)

    @property
    def is_gated(self) -> bool:
        return self.code == "GatedRepo"

    @property
    def is_unknown_repository(self) -> bool:
        """Whether there is no such repository, or it is private: the Hub does not tell which."""
        return self.code == "RepoNotFound"

    @property
    def is_wrong_token(self) -> bool:
        return self.is_denial and self.has_token and "invalid" in self.message.lower() and not self.is_gated

    @property
    def is_disabled(self) -> bool:
        return self.code == "DisabledRepo" or self.message.startswith("Access to this resource is disabled")

    @property
    def cause(self) -> str:
        """The reason in words, with the status and the server's own words."""
        reasons = (
            (self.is_unknown_repository, "there is no such repository, or it is private"),
            (self.is_disabled, "the publisher or the hub has disabled the repository"),
            (self.is_gated, "the model is gated, and its terms are not accepted"),
            (self.is_wrong_token, "the token is not valid"),
            (self.code == "RevisionNotFound", "there is no such revision"),
            (self.code == "EntryNotFound", "there is no such file in this revision"),
            (self.is_denial, f"a token {'was refused' if self.has_token else 'is needed'}"),
            (self.status == 451, "it may not be served for legal reasons"),
        )
        reason = next((f": {words}" for applies, words in reasons if applies), "")
        return f"status {self.status}{reason}{self.said}"

    def remedy(self, token: str) -> str:
        """Return the next step.

        :param token: the name of the option or variable that holds the token.
        """
        if self.is_unknown_repository:
            return f"compare owner and name with the publisher's page; for a private one, set {token}"
        if self.is_disabled:
            return "read the publisher's page, and use another repository or a mirror"
        if self.is_wrong_token:
            return f"replace {token} by a token that has not expired"
        if self.is_gated:
            account = "the token's account" if self.has_token else f"an account whose token is then set as {token}"
            return f"accept its terms on the publisher's page with {account}"
        if self.is_denial:
            return f"set {token} to a token of an account that has accepted the model's terms"
        return "compare the path, the revision and the number of parts with the publisher's list of files"


class RefusedError(AccessDeniedError):
    """A server refuses a file.

    :ivar refusal: its response, for callers that know more about the file.
    """

    def __init__(self, expected: str, found: str, remedy: str, refusal: Refusal | None = None) -> None:
        self.refusal = refusal
        super().__init__(expected, found, remedy)
