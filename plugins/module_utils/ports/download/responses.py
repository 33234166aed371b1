# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpret the responses of web servers: status, ranges, sizes and causes of failures."""

from __future__ import annotations

import http.client
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...core.download import identity, refusals
from ...core.download.identity import SHA256, RemoteFile, public_url
from ...core.errors import (
    MismatchError,
    NotFoundError,
    RemoteFailureError,
    TransientFailureError,
)

with suppress(ImportError):
    import requests.exceptions

if TYPE_CHECKING:
    from requests import Response

#: The variable that holds the token.
TOKEN = "model_store_token"
CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_COUNT = re.compile("[0-9]{1,18}")
_CAUSE = re.compile(
    r"\[Errno -?\d+\] [^)'\"]*|certificate verify failed[^)'\"]*|Name or service not known"
    r"|Tunnel connection failed: [0-9]{3}"
)


def check_status(url: str, response: Response, has_token: bool) -> None:
    """Reject a response that does not have the content, with an error that tells whether a retry may help."""
    status = response.status_code
    refusal = refusals.Refusal.of(status, response.headers, has_token)
    if refusals.may_pass(status):
        asked = refusals.pause(response.headers, time.time())
        raise passing_failure(url, f"the server answered {status}{refusal.said}", asked, status in refusals.OVERLOADED)
    if refusal.is_denial:
        expected = f"{public_url(url)} to be readable"
        raise refusals.RefusedError(expected, refusal.cause, refusal.remedy(TOKEN), refusal)
    if status in (404, 410, 451):
        raise NotFoundError(f"a file at {public_url(url)}", refusal.cause, refusal.remedy(TOKEN))
    if status in (407, 511):
        raise network_login(url, status)
    if status == 416:
        raise identity.OtherSizeError(
            f"more bytes at {public_url(url)}",
            f"status 416, Content-Range {identity.shown(response.headers.get('Content-Range'))}",
            "the file is shorter than it was: run again to fetch the new one, or use another mirror",
        )
    if status not in (200, 206):
        raise RemoteFailureError(
            f"the content of {public_url(url)}",
            f"status {status}{refusal.said}",
            "look at the server's log, then run again",
        )
    _check_coding(url, response)
    kind = response.headers.get("Content-Type", "").strip().lower()
    if kind.startswith(("text/html", "application/xhtml")):
        raise MismatchError(
            f"a model's file from {public_url(url)}",
            "a web page, such as one that asks for a login",
            "open the address by hand; a gated model needs a token",
        )


def network_login(url: str, status: int) -> RemoteFailureError:
    """Build the error of a proxy or a network that asks for a user and a password."""
    who = "the proxy" if status == 407 else "the network"
    return RemoteFailureError(
        f"the content of {public_url(url)}",
        f"status {status}: {who} asks for a login",
        f"log in to {who}; for a proxy, set model_store_proxy to its URL with user and password",
    )


def _check_coding(url: str, response: Response) -> None:
    """Reject a body whose bytes are not those of the file."""
    plain = {"", "identity"}
    for name, known in (("Content-Encoding", plain), ("Transfer-Encoding", plain | {"chunked"})):
        if response.headers.get(name, "").strip().lower() not in known:
            raise RemoteFailureError(
                f"{public_url(url)} uncompressed",
                f"{name} {identity.cleaned(response.headers[name])}",
                "switch compression off for this path on the server or the proxy",
            )


def passing_failure(url: str, why: str, pause: float | None = None, overloaded: bool = False) -> TransientFailureError:
    """Build the error of a request that may succeed later."""
    return TransientFailureError.of_content(public_url(url), why, pause, overloaded)


def describe(url: str, response: Response, published: dict[str, str]) -> RemoteFile:
    """Read the facts about a file from a response, and from the headers of the redirects that led to it."""
    linked = published.get("X-Linked-Etag")
    total = _total(response)
    if linked is None:
        tag = identity.tag_of(response.headers.get("ETag")) or identity.tag_of(response.headers.get("Last-Modified"))
        return RemoteFile(total, None, tag)
    linked = str(identity.tag_of(linked)).strip('"').lower()
    size = count_of(published.get("X-Linked-Size", ""))
    if None not in (size, total) and size != total:
        raise MismatchError(
            f"{size} bytes at {public_url(url)} (X-Linked-Size)",
            f"{total} where it leads to",
            "the publisher's storage has another file: try again later, or use a mirror",
        )
    sha256 = linked if SHA256.fullmatch(linked) else None
    return RemoteFile(total if size is None else size, sha256, linked, published.get("X-Repo-Commit"))


def validator_of(response: Response) -> str | None:
    """Return the value of If-Range for this content; None if there is none that guarantees the same bytes."""
    value = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    is_usable = 0 < len(value) <= identity.LONGEST_TAG and value.isascii() and value.isprintable()
    return value if is_usable and not value.startswith("W/") else None


def count_of(value: str) -> int | None:
    """Read a number of bytes; None for anything else."""
    return int(value) if _COUNT.fullmatch(value.strip()) else None


def _total(response: Response) -> int | None:
    """Read the size of the whole file."""
    if response.status_code == 206:
        return count_of(response.headers.get("Content-Range", "").rpartition("/")[2])
    return count_of(response.headers.get("Content-Length", "")) if response.status_code == 200 else None


def is_range(url: str, response: Response, start: int) -> bool:
    """Return whether the body is the requested range; False if it is the whole file."""
    if response.status_code == 200:
        return False
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    is_right = match is not None and int(match[1]) == start <= int(match[2])
    if match is None or not is_right or (match[3] != "*" and int(match[3]) <= int(match[2])):
        raise RemoteFailureError(
            f"{public_url(url)} from byte {start} on",
            f"Content-Range {identity.shown(response.headers.get('Content-Range'))}",
            "the server does not serve ranges correctly: use another mirror",
        )
    return True


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
