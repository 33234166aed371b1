# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web servers, as a source of large files (requests).

What is asked of a server is little: how large a file is and what identifies its present content, and the
bytes from a position on. What a server answers is checked, because half of the ways in which a download
goes wrong look like success: a login page with status 200, a range that was ignored, a body that ends
early, a file that was replaced in between.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    MismatchError,
    NotFoundError,
    RemoteFailureError,
)

try:
    import requests
    import requests.exceptions

    REQUESTS_ERROR: str | None = None
except ImportError as error:
    REQUESTS_ERROR = str(error)

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

CHUNK = 1 << 20
MAX_REDIRECTS = 10
LONGEST_WAIT = 300.0
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
# Servers that sign links for one method answer HEAD with one of these.
NO_HEAD = frozenset({400, 403, 405, 501})
SHA256_TAG = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Remote:
    """A file as its server describes it.

    :ivar sha256: the publisher's checksum (X-Linked-Etag), if there is one.
    :ivar tag: what changes when the content changes: the ETag, or the time of the last change.
    """

    size: int | None
    sha256: str | None
    tag: str | None


class _TryAgainError(Exception):
    """A failure that may pass; with the pause that the server asked for."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class Web:
    """Reads files from http, https and file URLs.

    :param token: sent as a bearer token to the host of each URL, and to no host that a redirect names.
    :param timeout: seconds without an answer, or without a byte, that count as a failure.
    :param retries: failures in a row, with no byte in between, that are forgiven.
    :param notify: told what is being waited for.
    """

    def __init__(
        self,
        token: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        notify: Callable[[str], object] = str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._token = token
        self._timeout = timeout
        self._retries = retries
        self._notify = notify
        self._sleep = sleep
        self._session = requests.Session() if REQUESTS_ERROR is None else None

    def describe(self, url: str) -> Remote:
        """Ask for size and identity, without the content."""
        if urlsplit(url).scheme == "file":
            return _describe_file(url)
        failures = 0
        while True:
            try:
                return self._describe(url)
            except _TryAgainError as trouble:
                failures += 1
                self._pause(url, trouble, failures)

    def read(self, url: str, start: int, size: int | None, tag: str | None) -> Iterator[tuple[int, bytes]]:
        """The bytes from a position on, each piece with its position.

        A piece at position 0 after others means that the server cannot continue and began again.

        :param size: of the whole file, if known; the reader stops there and not before.
        :param tag: from describe(); content with another tag is refused.
        """
        if urlsplit(url).scheme == "file":
            yield from _read_file(url, start)
            return
        position, failures = start, 0
        while size is None or position < size:
            try:
                for at, data in self._pieces(url, position, size, tag):
                    failures = 0
                    yield at, data
                    position = at + len(data)
                return
            except _TryAgainError as trouble:
                failures += 1
                self._pause(url, trouble, failures)

    def _describe(self, url: str) -> Remote:
        response, remote = self._follow("HEAD", url, {}, published_is_enough=True)
        with response:
            if response.status_code in NO_HEAD and remote.sha256 is None:
                response.close()
                response, remote = self._follow("GET", url, {"Range": "bytes=0-0"})
            if not (remote.sha256 is not None and response.is_redirect):
                self._check_status(url, response)
        response.close()
        return remote

    def _pieces(self, url: str, start: int, size: int | None, tag: str | None) -> Iterator[tuple[int, bytes]]:
        # With nothing that identifies the content, a later range could be of another file.
        headers = {"Range": f"bytes={start}-"} if start and tag is not None else {}
        response, remote = self._follow("GET", url, headers)
        with response:
            self._check_status(url, response)
            if remote.tag != tag or (size is not None and remote.size not in (None, size)):
                raise MismatchError(
                    f"the same {_public(url)} as before (ETag {tag}, {size} bytes)",
                    f"ETag {remote.tag}, {remote.size} bytes",
                    "the file was replaced while it was fetched: run again to fetch the new one",
                )
            position = _position(url, response, start)
            try:
                for data in response.iter_content(CHUNK):
                    piece = data if size is None else data[: size - position]
                    if piece:
                        yield position, piece
                        position += len(piece)
                    if size is not None and position >= size:
                        return
            except requests.exceptions.RequestException as error:
                raise _TryAgainError(_reason(error)) from error
            whole = size if size is not None else remote.size
            if whole is not None and position < whole:
                raise _TryAgainError(f"the server closed the connection after {position} of {whole} bytes")

    def _follow(
        self, method: str, url: str, headers: dict[str, str], published_is_enough: bool = False
    ) -> tuple[Response, Remote]:
        """Send a request and go where redirects lead; what the first answers publish is kept."""
        if self._session is None:
            raise NotFoundError(
                "the Python library requests", str(REQUESTS_ERROR), "install python3-requests, as role node does"
            )
        published: dict[str, str] = {}
        here = url
        for _hop in range(MAX_REDIRECTS + 1):
            try:
                response = self._session.request(
                    method,
                    here,
                    # Compressed bytes would have other positions, sizes and checksums.
                    headers={**headers, "Accept-Encoding": "identity"},
                    # Given in any case, so that requests does not look for credentials in ~/.netrc.
                    auth=self._authorise if _same_place(url, here) else _anonymous,
                    allow_redirects=False,
                    stream=True,
                    timeout=self._timeout,
                )
            except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
                raise RemoteFailureError(
                    f"an address behind {_public(url)}", _reason(error), "correct the URL in the inventory"
                ) from None
            except requests.exceptions.SSLError as error:
                raise RemoteFailureError(
                    f"a trusted certificate from {_public(here)}",
                    _reason(error),
                    "install the authority's certificate on the node, or set REQUESTS_CA_BUNDLE",
                ) from None
            except requests.exceptions.RequestException as error:
                raise _TryAgainError(_reason(error)) from None
            for name in ("X-Linked-Etag", "X-Linked-Size"):
                if name in response.headers:
                    published.setdefault(name, response.headers[name])
            target = response.headers.get("Location", "")
            if not response.is_redirect or (published_is_enough and "X-Linked-Etag" in published):
                return response, _remote(response, published)
            response.close()
            here = urljoin(here, target)
            if urlsplit(here).scheme not in ("http", "https"):
                raise RemoteFailureError(
                    f"{_public(url)} to lead to a web server", f"a redirect to {_public(here)}", "check the URL"
                )
        raise RemoteFailureError(
            f"at most {MAX_REDIRECTS} redirects from {_public(url)}",
            f"another one to {_public(here)}",
            "open the address in a browser and use the one that serves the file",
        )

    def _authorise(self, request: PreparedRequest) -> PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _check_status(self, url: str, response: Response) -> None:
        status = response.status_code
        if status in TRY_AGAIN:
            raise _TryAgainError(f"the server answered {status}", _retry_after(response))
        if status in (401, 403):
            how = "was refused" if self._token else "is needed"
            raise RemoteFailureError(
                f"{_public(url)} to be readable",
                f"status {status}: a token {how}",
                "set model_store_token to a token of an account that has accepted the model's terms",
            )
        if status in (404, 410):
            raise NotFoundError(
                f"a file at {_public(url)}",
                f"status {status}",
                "compare the path, the revision and the number of parts with the publisher's list of files",
            )
        if status not in (200, 206):
            raise RemoteFailureError(
                f"the content of {_public(url)}", f"status {status}", "look at the server's log, then run again"
            )
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding not in ("", "identity"):
            raise RemoteFailureError(
                f"{_public(url)} as it is",
                f"it compressed as {encoding}",
                "switch compression off for this path on the server or the proxy",
            )

    def _pause(self, url: str, trouble: _TryAgainError, failures: int) -> None:
        if failures > self._retries:
            raise RemoteFailureError(
                f"the content of {_public(url)}",
                f"{trouble}, {failures} times in a row",
                "see that the server is up and reachable from this host, then run again: it continues where it stopped",
            ) from None
        pause = min(2.0 ** (failures - 1), 60.0) if trouble.pause is None else trouble.pause
        self._notify(f"{trouble}; trying again in {pause:.0f} s")
        self._sleep(pause)


def _anonymous(request: PreparedRequest) -> PreparedRequest:
    return request


def _same_place(first: str, second: str) -> bool:
    """Whether a token for the first address may be shown to the second."""
    one, other = urlsplit(first), urlsplit(second)
    if one.hostname != other.hostname:
        return False
    upgraded = (one.scheme, other.scheme) == ("http", "https") and {one.port, other.port} <= {None, 80, 443}
    return upgraded or (one.scheme, one.port) == (other.scheme, other.port)


def _remote(response: Response, published: dict[str, str]) -> Remote:
    linked = published.get("X-Linked-Etag")
    if linked is not None:
        linked = linked.removeprefix("W/").strip('"').lower()
        size = published.get("X-Linked-Size", "")
        return Remote(
            int(size) if size.isdigit() else _total(response),
            linked if SHA256_TAG.fullmatch(linked) else None,
            linked,
        )
    return Remote(_total(response), None, response.headers.get("ETag") or response.headers.get("Last-Modified"))


def _total(response: Response) -> int | None:
    """The size of the whole file that an answer speaks of."""
    if response.status_code == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    elif response.status_code == 200:
        total = response.headers.get("Content-Length", "")
    else:
        return None
    return int(total) if total.isdigit() else None


def _position(url: str, response: Response, asked: int) -> int:
    """Where in the file the body of an answer begins."""
    if response.status_code == 200:
        return 0
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != asked:
        raise RemoteFailureError(
            f"{_public(url)} from byte {asked} on",
            f"Content-Range {response.headers.get('Content-Range')!r}",
            "the server does not serve ranges correctly: use another mirror",
        )
    return int(match[1])


def _retry_after(response: Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    if value.isdigit():
        return min(float(value), LONGEST_WAIT)
    moment = email.utils.parsedate_tz(value)
    if moment is None:
        return None
    return min(max(0.0, email.utils.mktime_tz(moment) - time.time()), LONGEST_WAIT)


def _reason(error: Any) -> str:
    """The cause of a failed request in a few words, without the URL, which may be signed."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "no byte in time"
    deepest = getattr(getattr(error, "args", [None])[0], "reason", None) if error.args else None
    text = str(deepest or "")
    match = re.search(r"\[Errno -?\d+\] [^)'\"]*|certificate verify failed[^)'\"]*|Name or service not known", text)
    return match[0].strip() if match else f"the connection broke ({type(error).__name__})"


def _public(url: str) -> str:
    split = urlsplit(url)
    return split._replace(netloc=split.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()


def _describe_file(url: str) -> Remote:
    path = Path(unquote(urlsplit(url).path))
    try:
        status = path.stat()
    except OSError as error:
        raise NotFoundError(
            f"a file at {url}", str(error.strerror), "mount the storage on this host, or correct the path"
        ) from None
    return Remote(status.st_size, None, f"{status.st_ino}-{status.st_mtime_ns}")


def _read_file(url: str, start: int) -> Iterator[tuple[int, bytes]]:
    with Path(unquote(urlsplit(url).path)).open("rb") as stream:
        stream.seek(start)
        position = start
        while True:
            data = stream.read(CHUNK)
            if not data:
                return
            yield position, data
            position += len(data)
