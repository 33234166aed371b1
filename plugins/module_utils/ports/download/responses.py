# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpret the responses of web servers: status, ranges, sizes and causes of failures."""

from __future__ import annotations

import email.utils
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...core.download.identity import SHA256, RemoteFile, public_url
from ...core.errors import (
    AccessDeniedError,
    MismatchError,
    NotFoundError,
    RemoteFailureError,
    TransientFailureError,
)

with suppress(ImportError):
    import requests.exceptions

if TYPE_CHECKING:
    from requests import Response

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
OVERLOADED = frozenset({429, 503})
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def check_status(url: str, response: Response, has_token: bool) -> None:
    """Reject a response that does not have the content, with an error that tells whether a retry may help."""
    status = response.status_code
    if status in TRY_AGAIN:
        raise passing_failure(url, f"the server answered {status}", _retry_after(response), status in OVERLOADED)
    if status in (401, 403):
        how = "was refused" if has_token else "is needed"
        raise AccessDeniedError(
            f"{public_url(url)} to be readable",
            f"status {status}: a token {how}",
            "set model_store_token to a token of an account that has accepted the model's terms",
        )
    if status in (404, 410):
        raise NotFoundError(
            f"a file at {public_url(url)}",
            f"status {status}",
            "compare the path, the revision and the number of parts with the publisher's list of files",
        )
    if status == 416:
        raise MismatchError(
            f"more bytes at {public_url(url)}",
            f"status 416, Content-Range {response.headers.get('Content-Range')!r}",
            "the file is shorter than it was: run again to fetch the new one, or use another mirror",
        )
    if status not in (200, 206):
        raise RemoteFailureError(
            f"the content of {public_url(url)}", f"status {status}", "look at the server's log, then run again"
        )
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding not in ("", "identity"):
        raise RemoteFailureError(
            f"{public_url(url)} uncompressed",
            f"Content-Encoding {encoding}",
            "switch compression off for this path on the server or the proxy",
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise MismatchError(
            f"a model's file from {public_url(url)}",
            "a web page, such as one that asks for a login",
            "open the address by hand; a gated model needs a token",
        )


def passing_failure(url: str, why: str, pause: float | None = None, overloaded: bool = False) -> TransientFailureError:
    """Build the error of a request that may succeed later."""
    return TransientFailureError.of_content(public_url(url), why, pause, overloaded)


def describe(response: Response, published: dict[str, str]) -> RemoteFile:
    """Read the facts about a file from a response, and from the headers of the redirects that led to it."""
    linked = published.get("X-Linked-Etag")
    if linked is not None:
        linked = linked.removeprefix("W/").strip('"').lower()
        size = published.get("X-Linked-Size", "")
        return RemoteFile(
            int(size) if size.isdigit() else _total(response),
            linked if SHA256.fullmatch(linked) else None,
            linked,
            published.get("X-Repo-Commit"),
        )
    return RemoteFile(_total(response), None, response.headers.get("ETag") or response.headers.get("Last-Modified"))


def _total(response: Response) -> int | None:
    """Read the size of the whole file."""
    if response.status_code == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    elif response.status_code == 200:
        total = response.headers.get("Content-Length", "")
    else:
        return None
    return int(total) if total.isdigit() else None


def is_range(url: str, response: Response, start: int) -> bool:
    """Return whether the body is the requested range; False if it is the whole file."""
    if response.status_code == 200:
        return False
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start or int(match[2]) < start:
        raise RemoteFailureError(
            f"{public_url(url)} from byte {start} on",
            f"Content-Range {response.headers.get('Content-Range')!r}",
            "the server does not serve ranges correctly: use another mirror",
        )
    return True


def _retry_after(response: Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    if value.isdigit():
        return float(value)
    moment = email.utils.parsedate_tz(value)
    if moment is None:
        return None
    return max(0.0, email.utils.mktime_tz(moment) - time.time())


def reason(error: Any) -> str:
    """Return the cause of a failed request in a few words, without the URL, which may be signed."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, (requests.exceptions.Timeout, TimeoutError)):
        return "no byte in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, requests.exceptions.RequestException):
        return f"the connection broke ({error.strerror})"
    deepest = getattr(getattr(error, "args", [None])[0], "reason", None) if error.args else None
    text = str(deepest or "")
    match = re.search(r"\[Errno -?\d+\] [^)'\"]*|certificate verify failed[^)'\"]*|Name or service not known", text)
    return match[0].strip() if match else f"the connection broke ({type(error).__name__})"
