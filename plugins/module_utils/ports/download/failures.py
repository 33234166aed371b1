# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the causes of requests that failed without a response."""

from __future__ import annotations

import http.client
import re
from contextlib import suppress
from typing import Any

from ...core.download import identity
from ...core.download.identity import public_url
from ...core.errors import RemoteFailureError, TransientFailureError

with suppress(ImportError):
    import requests.exceptions

_CAUSE = re.compile(
    r"\[Errno -?\d+\] [^)'\"]*|certificate verify failed[^)'\"]*|Name or service not known"
    r"|Tunnel connection failed: [0-9]{3}"
)


def network_login(url: str, status: int) -> RemoteFailureError:
    """Build the error of a proxy or a network that asks for a user and a password."""
    who = "the proxy" if status == 407 else "the network"
    return RemoteFailureError(
        f"the content of {public_url(url)}",
        f"status {status}: {who} asks for a login",
        f"log in to {who}; for a proxy, set model_store_proxy to its URL with user and password",
    )


def passing_failure(url: str, why: str, pause: float | None = None, overloaded: bool = False) -> TransientFailureError:
    """Build the error of a request that may succeed later."""
    return TransientFailureError.of_content(public_url(url), why, pause, overloaded)


def reason(error: Any) -> str:
    """Return the cause of a failed request in a few words, without the URL, which may be signed."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, (requests.exceptions.Timeout, TimeoutError)):
        return "no byte in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, requests.exceptions.RequestException):
        return f"the connection broke ({error.strerror})"
    cause = _deepest(error)
    match = _CAUSE.search(str(cause))
    if match:
        return match[0].strip()
    if isinstance(cause, http.client.RemoteDisconnected):
        return "the server closed the connection without a response"
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.IncompleteRead):
        return "a response that is no HTTP"
    return f"the connection broke ({cause.strerror})" if getattr(cause, "strerror", None) else "the connection broke"


def _deepest(error: Any) -> Any:
    """Return the error that requests and urllib3 have wrapped."""
    for _depth in range(5):
        inner = getattr(error, "reason", None) or (getattr(error, "args", None) or (None,))[-1]
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def failure(url: str, here: str, error: Exception) -> RemoteFailureError:
    """Build the error of a request without a response; tell failures that may pass from those that will not."""
    details = reason(error)
    if isinstance(error, requests.exceptions.SSLError):
        if "EOF" in str(error):
            return passing_failure(url, "the connection broke while it was secured")
        return RemoteFailureError(
            f"a trusted certificate from {public_url(here)}",
            details,
            "install the authority's certificate on the node, or set REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return RemoteFailureError("a valid URL of the proxy", "another text", "correct model_store_proxy")
    if isinstance(error, requests.exceptions.ProxyError) and details.endswith(" 407"):
        return network_login(url, 407)
    # All other ValueErrors but this one, which is about a response, are about a URL.
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return RemoteFailureError(
            f"a valid URL behind {public_url(url)}",
            identity.shown(public_url(here)),
            "correct the URL in the inventory",
        )
    return passing_failure(url, details)
