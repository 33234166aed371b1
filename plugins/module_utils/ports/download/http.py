# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web servers, as a source of large files (requests).

What is asked of a server is little: how large a file is and what identifies its present content, and ranges of
its bytes. What a server answers is checked, because half of the ways in which a download goes wrong look like
success: a login page with status 200, a range that was ignored, a body that ends early, a file that was replaced
in between. Connections are kept alive; several threads may ask at once.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import unquote, urljoin, urlsplit

from ...core.errors import HerdError, MismatchError, NotFoundError, RemoteFailureError, TransientFailureError

try:
    import requests
    import requests.adapters
    import requests.exceptions

    REQUESTS_ERROR: str | None = None
except ImportError as error:
    REQUESTS_ERROR = str(error)

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

#: Seconds to wait after so many failures in a row, or None to give up; with what the server asks for.
Pause = Callable[[int, Optional[float]], Optional[float]]

CHUNK = 1 << 20
MAX_REDIRECTS = 10
#: Seconds for a connection to come about; one that is refused in silence must not take as long as a slow answer.
CONNECT = 15.0
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
CROWDED = frozenset({429, 503})
# Servers that sign links for one method answer HEAD with one of these.
NO_HEAD = frozenset({400, 403, 405, 501})
SHA256_TAG = re.compile(r"[0-9a-f]{64}")
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Remote:
    """A file as its server describes it.

    :ivar sha256: the publisher's checksum (X-Linked-Etag), if there is one.
    :ivar tag: what changes when the content changes: the ETag, or the time of the last change.
    :ivar commit: the revision of the hub's repository (X-Repo-Commit) that the address led to.
    """

    size: int | None
    sha256: str | None
    tag: str | None
    commit: str | None = None


class Reply:
    """An answer with a body, which is read piece by piece.

    :ivar ranged: whether the body begins where it was asked to; otherwise it begins at the beginning.
    """

    def __init__(self, remote: Remote, ranged: bool, response: Response) -> None:
        self.total, self.tag, self.sha256 = remote.size, remote.tag, remote.sha256
        self.ranged = ranged
        self._response = response
        # Below urllib3, whose own reader waits until it has all that was asked for: a server that sends a byte
        # a minute would never be noticed. (Its read1() came with 2.1; nodes have older ones.)
        self._body: Any = getattr(response.raw, "_fp", response.raw)
        # Counted here: before 3.12 read1() does not know when the body has ended, and waits for more.
        self._left: int | None = getattr(self._body, "length", None)
        self._trouble: TransientFailureError | None = None

    def read(self, most: int) -> bytes:
        """What has come, at least one byte and at most so many; nothing at the end."""
        if self._left is not None:
            most = min(most, self._left)
        if not most:
            return b""
        if self._trouble is not None:
            # Who took what had come before it asks again.
            raise self._trouble
        try:
            data: bytes = self._body.read1(most)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._trouble = _passing(self._response.url, _reason(error))
            raise self._trouble from None
        if self._left is not None:
            self._left -= len(data)
        return data

    def close(self) -> None:
        """Keep the connection for the next request, if the body was read to its end."""
        if self._left == 0:
            # Only after this does the connection take the next request.
            self._body.length = 0
            self._body.read()
            self._response.raw.release_conn()
        else:
            self._response.close()


class FileReply:
    """The same, of a file on a disk, which always begins where it was asked to."""

    ranged = True

    def __init__(self, remote: Remote, path: Path, start: int, end: int | None) -> None:
        self.total, self.tag, self.sha256 = remote.size, remote.tag, remote.sha256
        self._path = path
        self._position = start
        self._end = end
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, most: int) -> bytes:
        left = most if self._end is None else min(most, self._end - self._position)
        try:
            data = os.pread(self._fd, left, self._position)
        except OSError as error:
            raise _passing(self._path.as_uri(), str(error.strerror)) from None
        self._position += len(data)
        return data

    def close(self) -> None:
        os.close(self._fd)


def a_few_times(failures: int, asked: float | None) -> float | None:
    """The patience of those who have no wishes."""
    pauses = (1.0, 2.0, 4.0, 8.0, 16.0)
    if failures > len(pauses) or (asked or 0.0) > 60.0:
        return None
    return pauses[failures - 1] if asked is None else asked


class Web:
    """Reads files from http, https and file URLs.

    :param pause: when to try again, and when no more.
    :param token: sent as a bearer token to the hosts of C(trusted), and to no host that a redirect or mirror names.
    :param trusted: URLs whose hosts may see the token.
    :param timeout: seconds without an answer, or without a byte, that count as a failure.
    :param proxy: URL of a proxy for all requests; by default the environment says.
    :param connections: how many to keep alive.
    :param notify: told what is being waited for.
    """

    def __init__(
        self,
        pause: Pause = a_few_times,
        token: str | None = None,
        trusted: Sequence[str] = (),
        timeout: float = 60.0,
        proxy: str | None = None,
        connections: int = 8,
        notify: Callable[[str], object] = str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        self._token = token
        self._trusted = tuple(trusted)
        self._timeout = timeout
        self._proxies = {"http": proxy, "https": proxy} if proxy else None
        self._notify = notify
        self._sleep = sleep
        self._session = None
        #: Where the redirects of a URL ended, with what their answers published. Signed addresses expire; then
        #: the URL is followed again.
        self._ends: dict[str, tuple[str, dict[str, str]]] = {}
        #: The validator of the content at a URL, as its server spells it.
        self._validators: dict[str, str] = {}
        if REQUESTS_ERROR is None:
            self._session = requests.Session()
            for scheme in ("http://", "https://"):
                adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections + 1)
                self._session.mount(scheme, adapter)

    def describe(self, url: str, patient: bool = True) -> Remote:
        """Ask for size and identity, without the content.

        :param patient: whether to try as often as the back-off allows; otherwise once more.
        """
        if urlsplit(url).scheme == "file":
            return _describe_file(url)
        failures = 0
        while True:
            try:
                return self._describe(url)
            except TransientFailureError as trouble:
                failures += 1
                self._wait(trouble, failures if patient or failures == 1 else None)

    def read(self, url: str, size: int | None, tag: str | None) -> Iterator[tuple[int, bytes]]:
        """A whole file from its beginning, each piece with its position: for what is not worth several connections.

        A piece at position 0 after others means that the server cannot continue and began again.

        :param size: and C(tag) from describe(); other content is refused.
        """
        position = failures = 0
        while size is None or position < size:
            try:
                with contextlib.closing(self.open(url, position, None, position > 0)) as reply:
                    if reply.tag != tag or size not in (None, reply.total):
                        raise MismatchError(
                            f"the same {_public(url)} as before (ETag {tag}, {size} bytes)",
                            f"ETag {reply.tag}, {reply.total} bytes",
                            "the file was replaced while it was fetched: run again to fetch the new one",
                        )
                    position = position if reply.ranged else 0
                    while data := reply.read(CHUNK):
                        failures = 0
                        yield position, data
                        position += len(data)
                if size is not None and position < size:
                    raise _passing(url, f"the server closed the connection after {position} of {size} bytes")
                return
            except TransientFailureError as trouble:
                failures += 1
                self._wait(trouble, failures)

    def _wait(self, trouble: TransientFailureError, failures: int | None) -> None:
        """Pause before the next try, or give up."""
        pause = None if failures is None else self._pause(failures, trouble.pause)
        if pause is not None:
            self._notify(f"{trouble.found}; trying again in {pause:.0f} s")
            self._sleep(pause)
            return
        if trouble.pause is not None:
            raise RemoteFailureError(
                trouble.expected,
                f"{trouble.found} and asks to come back in {trouble.pause:.0f} s",
                "run again then: it continues where it stopped; or name a mirror",
            )
        raise RemoteFailureError(
            trouble.expected,
            f"{trouble.found}, {failures or 2} times in a row",
            "see that the server is up and reachable from this host, then run again: it continues where it stopped",
        )

    def open(self, url: str, start: int, end: int | None, ranged: bool) -> Reply | FileReply:
        """Ask for bytes.

        :param ranged: whether to ask for a range; otherwise for everything.
        :returns: an answer that is a success; where its body begins is to be looked at.
        """
        if urlsplit(url).scheme == "file":
            return _open_file(url, start if ranged else 0, end)
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if ranged else {}
        validator = self._validators.get(url)
        if ranged and validator is not None:
            # If it is another file by now, then all of it: its new tag says so, and nothing is mixed.
            headers["If-Range"] = validator
        known = url in self._ends
        response, remote = self._follow("GET", url, headers)
        if known and response.status_code not in (200, 206) and response.status_code not in TRY_AGAIN:
            # An address that was signed for a while.
            response.close()
            del self._ends[url]
            response, remote = self._follow("GET", url, headers)
        try:
            self._check_status(url, response)
            found = _starts_at(url, response, start if ranged else 0)
        except HerdError:
            self._ends.pop(url, None)
            response.close()
            raise
        self._remember(url, response)
        return Reply(remote, ranged and found, response)

    def _describe(self, url: str) -> Remote:
        response, remote = self._follow("HEAD", url, {}, published_is_enough=True)
        if response.status_code in NO_HEAD and remote.sha256 is None:
            response.close()
            response, remote = self._follow("GET", url, {"Range": "bytes=0-0"})
        try:
            if not (remote.sha256 is not None and response.is_redirect):
                self._check_status(url, response)
                self._remember(url, response)
        finally:
            _leave(response)
        return remote

    def _remember(self, url: str, response: Response) -> None:
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        # A weak tag does not promise the same bytes, and may not be used with ranges.
        if validator is not None and not validator.startswith("W/"):
            self._validators[url] = validator
        else:
            self._validators.pop(url, None)

    def _follow(
        self, method: str, url: str, headers: dict[str, str], published_is_enough: bool = False
    ) -> tuple[Response, Remote]:
        """Send a request and go where redirects lead; what the first answers publish is kept."""
        here, published = self._ends.get(url, (url, {}))
        published = dict(published)
        for _hop in range(MAX_REDIRECTS + 1):
            response = self._ask(method, url, here, headers)
            for name in ("X-Linked-Etag", "X-Linked-Size", "X-Repo-Commit"):
                if name in response.headers:
                    published.setdefault(name, response.headers[name])
            target = response.headers.get("Location", "")
            if not response.is_redirect or (published_is_enough and "X-Linked-Etag" in published):
                if response.status_code in (200, 206) and here != url:
                    self._ends[url] = (here, published)
                return response, _remote(response, published)
            _leave(response)
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

    def _ask(self, method: str, url: str, here: str, headers: dict[str, str]) -> Response:
        """One request, whose failures are sorted into those that may pass and those that will not."""
        if self._session is None:
            raise NotFoundError(
                "the Python library requests", str(REQUESTS_ERROR), "install python3-requests, as role node does"
            )
        may_know = any(_same_place(trusted, here) for trusted in self._trusted)
        try:
            return self._session.request(
                method,
                here,
                # Compressed bytes would have other positions, sizes and checksums.
                headers={**headers, "Accept-Encoding": "identity"},
                # Given in any case, so that requests does not look for credentials in ~/.netrc.
                auth=self._authorise if may_know else _anonymous,
                allow_redirects=False,
                stream=True,
                timeout=(min(CONNECT, self._timeout), self._timeout),
                proxies=self._proxies,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
            raise RemoteFailureError(
                f"an address behind {_public(url)}", _reason(error), "correct the URL in the inventory"
            ) from None
        except requests.exceptions.SSLError as error:
            if "EOF" in str(error):
                raise _passing(url, "the connection broke while it was secured") from None
            raise RemoteFailureError(
                f"a trusted certificate from {_public(here)}",
                _reason(error),
                "install the authority's certificate on the node, or set REQUESTS_CA_BUNDLE",
            ) from None
        except requests.exceptions.RequestException as error:
            self._ends.pop(url, None)
            raise _passing(url, _reason(error)) from None

    def _authorise(self, request: PreparedRequest) -> PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _check_status(self, url: str, response: Response) -> None:
        status = response.status_code
        if status in TRY_AGAIN:
            raise _passing(url, f"the server answered {status}", _retry_after(response), status in CROWDED)
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
        if status == 416:
            raise MismatchError(
                f"more bytes at {_public(url)}",
                f"status 416, Content-Range {response.headers.get('Content-Range')!r}",
                "the file is shorter than it was: run again to fetch the new one, or use another mirror",
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
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise MismatchError(
                f"a GGUF file from {_public(url)}",
                "a web page, such as one that asks for a login",
                "open the address by hand; a gated model needs a token",
            )


def _passing(url: str, why: str, pause: float | None = None, crowded: bool = False) -> TransientFailureError:
    return TransientFailureError(
        f"the content of {_public(url)}", why, "see that the server is up and reachable from this host", pause, crowded
    )


def _leave(response: Response) -> None:
    """Be done with an answer, and keep its connection where that costs nothing."""
    if response.request.method == "HEAD" or response.headers.get("Content-Length") == "0":
        with contextlib.suppress(requests.exceptions.RequestException):
            response.raw.read()
        response.raw.release_conn()
    else:
        response.close()


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
            published.get("X-Repo-Commit"),
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


def _starts_at(url: str, response: Response, asked: int) -> bool:
    """Whether the body of an answer begins where it was asked to, and not at the beginning."""
    if response.status_code == 200:
        return False
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != asked or int(match[2]) < asked:
        raise RemoteFailureError(
            f"{_public(url)} from byte {asked} on",
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


def _reason(error: Any) -> str:
    """The cause of a failed request in a few words, without the URL, which may be signed."""
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


def _open_file(url: str, start: int, end: int | None) -> FileReply:
    remote = _describe_file(url)
    return FileReply(remote, Path(unquote(urlsplit(url).path)), start, end)
