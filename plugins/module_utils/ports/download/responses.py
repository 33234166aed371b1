# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpret the responses of web servers: status, ranges and sizes."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from ...core.download import identity, refusals
from ...core.download.identity import SHA256, RemoteFile, public_url
from ...core.errors import MismatchError, NotFoundError, RemoteFailureError
from . import failures

if TYPE_CHECKING:
    from requests import Response

#: The variable that holds the token.
TOKEN = "model_store_token"
CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_COUNT = re.compile("[0-9]{1,18}")


def check_status(url: str, response: Response, has_token: bool) -> None:
    """Reject a response that does not have the content, with an error that tells whether a retry may help."""
    status = response.status_code
    refusal = refusals.Refusal.of(status, response.headers, has_token)
    if refusals.may_pass(status):
        asked = refusals.pause(response.headers, time.time())
        raise failures.passing_failure(
            url, f"the server answered {status}{refusal.said}", asked, status in refusals.OVERLOADED
        )
    if refusal.is_denial:
        expected = f"{public_url(url)} to be readable"
        raise refusals.RefusedError(expected, refusal.cause, refusal.remedy(TOKEN), refusal)
    if status in (404, 410, 451):
        raise NotFoundError(f"a file at {public_url(url)}", refusal.cause, refusal.remedy(TOKEN))
    if status in (407, 511):
        raise failures.network_login(url, status)
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
