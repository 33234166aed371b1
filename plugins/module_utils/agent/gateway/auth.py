# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the key of a request."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ...core.gateway import user_keys
from ...core.gateway.api_errors import ApiError
from ...core.gateway.user_keys import UserKey, UserKeys

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

#: Most keys of one request that are looked up.
MOST_KEYS = 4
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def shown_keys(headers: CIMultiDictProxy[str]) -> Iterator[str]:
    """Yield all keys in a request's headers, as the clients of OpenAI, Anthropic and Azure send them."""
    for value in headers.getall("Authorization", ()):
        kind, _blank, key = value.partition(" ")
        if kind.lower() == "bearer" and key.strip():
            yield key.strip()
    for name in ("x-api-key", "api-key"):
        yield from filter(None, headers.getall(name, ()))


def check_engine_key(headers: CIMultiDictProxy[str], keys: Iterable[str]) -> None:
    """Check that a request shows the key of an engine, which only the gateway and Prometheus have.

    :raises ApiError: if it does not.
    """
    shown = [key.encode(errors="surrogateescape") for _number, key in zip(range(MOST_KEYS), shown_keys(headers))]
    if not any(hmac.compare_digest(one, key.encode()) for one in shown for key in keys if key):
        raise ApiError(401, "This page needs the key of an engine.", "invalid_api_key", _CHALLENGE)


def authenticate(headers: CIMultiDictProxy[str], keys: UserKeys | None, retry_after: int) -> UserKey:
    """Return the first valid key of a request.

    :param keys: all keys; None until the key files have been read.
    :raises ApiError: if there is none.
    """
    shown = list(dict.fromkeys(shown_keys(headers)))[:MOST_KEYS]
    if not shown:
        message = "You did not provide an API key. Put it into the header: Authorization: Bearer KEY."
        raise ApiError(401, message, "invalid_api_key", _CHALLENGE)
    if keys is None:
        message = "The gateway cannot read its key files. Its operator finds the reason in the journal of herd-gateway."
        raise ApiError(503, message, "gateway_unavailable", retry_after=retry_after)
    refusals = []
    for text in shown:
        key = user_keys.owner(keys.keys, text)
        refusal = user_keys.refusal(key, keys.revoked, time.time())
        if key is not None and not refusal:
            return key
        # Only the holder of a key learns whether it is revoked or expired.
        refusals.append(refusal)
    known = next((refusal for refusal in refusals if refusal != "unknown"), "unknown")
    raise ApiError(401, f"The API key that you provided is {known}.", "invalid_api_key", _CHALLENGE)
