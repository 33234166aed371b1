# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what requests use: by hour, key, user, project, model and tier, and by month for a key's budget.

A request counts in the hour and in the month in which it ended, in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime, timezone

from ..event_stream import Tokens

HOUR_S = 3600
#: Bytes of a body for each token of an estimate.
BYTES_PER_TOKEN = 4
#: Tokens that a template or the images behind links may add to a prompt.
TEMPLATE_TOKENS = 8192
#: Status of a client that left before it got a response.
CLIENT_LEFT = 499


@dataclass(frozen=True)
class UsageKey:
    """What a row of usage is about.

    :ivar hour: UNIX time of the hour's begin.
    :ivar key: the key's id, never its text.
    :ivar project: empty for none.
    :ivar model: empty if the tier has no name for it.
    """

    hour: int
    key: str
    user: str
    project: str
    model: str
    tier: str


@dataclass(frozen=True)
class Usage:
    """What requests used.

    :ivar requests: requests that were sent to a tier.
    :ivar cut: those of them whose response did not reach the client as a whole.
    :ivar prompt_tokens: tokens of prompts, as the engine counts them.
    :ivar completion_tokens: tokens of responses, as the engine counts them.
    :ivar estimated_tokens: tokens of requests that ended before the engine counted them.
    """

    requests: int = 0
    cut: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(one + two for one, two in zip(astuple(self), astuple(other))))

    @property
    def tokens(self) -> int:
        """Return all tokens, which a budget is charged with."""
        return self.prompt_tokens + self.completion_tokens + self.estimated_tokens


@dataclass(frozen=True)
class EndedRequest:
    """What the gateway knows of a request that has ended.

    :ivar status: the response's status.
    :ivar received: bytes of the request's body.
    :ivar sent: bytes of the response's body.
    :ivar is_sent: whether an engine has got the request.
    :ivar estimate: tokens that prompt and response would probably have taken.
    """

    tokens: Tokens
    status: int
    received: int
    sent: int
    is_stream: bool
    is_complete: bool
    is_sent: bool
    estimate: int


def usage_of(request: EndedRequest) -> Usage:
    """Return what one request used.

    No engine is believed that reports more tokens than there are bytes.
    """
    tokens = request.tokens
    prompt = min(tokens.prompt or 0, request.received + TEMPLATE_TOKENS)
    completion = min(tokens.completion or 0, request.sent)
    return Usage(1, int(not request.is_complete), prompt, completion, _estimate(request))


def _estimate(request: EndedRequest) -> int:
    """Estimate the tokens that the engine computed and did not report.

    An engine stops a stream when its client leaves. Other responses go on, so their whole estimate counts.
    """
    is_error = request.status >= 400 and request.status != CLIENT_LEFT
    if not request.is_sent or is_error or request.tokens.prompt is not None:
        return 0
    prompt = request.received // BYTES_PER_TOKEN
    if request.tokens.completion:
        return prompt
    if request.is_complete:
        return 0
    return prompt if request.is_stream else request.estimate


def hour_of(wall: float) -> int:
    """Return the begin of an hour as a UNIX time."""
    return int(wall // HOUR_S) * HOUR_S


def month_of(wall: float) -> str:
    """Return the month of a UNIX time, such as C(2026-11)."""
    return f"{datetime.fromtimestamp(wall, timezone.utc):%Y-%m}"


def month_begin(wall: float) -> int:
    """Return the UNIX time at which the month of a time begins."""
    now = datetime.fromtimestamp(wall, timezone.utc)
    return int(datetime(now.year, now.month, 1, tzinfo=timezone.utc).timestamp())


def month_end(wall: float) -> int:
    """Return the UNIX time at which the next month begins."""
    now = datetime.fromtimestamp(wall, timezone.utc)
    year, month = divmod(now.year * 12 + now.month, 12)
    return int(datetime(year, month + 1, 1, tzinfo=timezone.utc).timestamp())


def month_tokens(batch: Mapping[UsageKey, Usage]) -> dict[tuple[str, str], int]:
    """Sum the tokens of rows by month and key."""
    found: dict[tuple[str, str], int] = {}
    for row, usage in batch.items():
        place = (month_of(row.hour), row.key)
        found[place] = found.get(place, 0) + usage.tokens
    return found
