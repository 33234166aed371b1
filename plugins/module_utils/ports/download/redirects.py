# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the redirects of web servers: where they lead, and which host may get the token."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from ...core.download import identity
from ...core.download.identity import public_url
from ...core.errors import RemoteFailureError

MAX_REDIRECTS = 10
#: Headers with which a redirect describes the file that it leads to.
PUBLISHED = ("X-Linked-Etag", "X-Linked-Size", "X-Repo-Commit")


def next_address(url: str, here: str, location: str) -> str:
    """Return the address that a redirect leads to.

    :param url: the address at the start of all redirects, for the error.
    :param here: the address that answered with the redirect.
    """
    with suppress(UnicodeError):
        # Headers are read as Latin-1; servers write UTF-8.
        location = location.encode("latin-1").decode()
    with suppress(ValueError):
        target = urlsplit(location.strip())
        there = urlsplit(urljoin(here, location.strip()))
        # Reading the port raises an error if it is none.
        is_complete = there.hostname and there.port != 0 and (target.netloc or not target.scheme)
        if there.scheme in ("http", "https") and is_complete:
            return there.geturl()
    raise RemoteFailureError(
        f"{public_url(url)} to lead to a web server",
        f"a redirect to {identity.shown(public_url(location))}",
        "check the URL",
    )


def too_many(url: str, here: str) -> RemoteFailureError:
    """Build the error of redirects without an end."""
    return RemoteFailureError(
        f"at most {MAX_REDIRECTS} redirects from {public_url(url)}",
        f"another one to {identity.shown(public_url(here))}",
        "open the address in a browser and use the one that serves the file",
    )


def may_get_token(trusted: Iterable[str], url: str) -> bool:
    """Return whether a URL is on one of the hosts that may get the token."""
    return any(_same_place(place, url) for place in trusted)


def _same_place(first: str, second: str) -> bool:
    one, other = urlsplit(first), urlsplit(second)
    if one.hostname != other.hostname:
        return False
    upgraded = (one.scheme, other.scheme) == ("http", "https") and {one.port, other.port} <= {None, 80, 443}
    return upgraded or (one.scheme, one.port) == (other.scheme, other.port)
