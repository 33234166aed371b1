# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download files from web servers (requests).

The client asks a server only for the size and the identity of a file, and for ranges of its bytes. It checks every
response, because many failed downloads look like a success: a login page with status 200, an ignored range, a body that
ends early, a file that was replaced meanwhile. Connections are kept alive; several threads may use them at once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Optional
from urllib.parse import urljoin, urlsplit

from ...core.download.identity import RemoteFile, public_url
from ...core.errors import HerdError, MismatchError, NotFoundError, RemoteFailureError, TransientFailureError
from . import responses
from .content import FileContent, HttpContent, describe_file
from .responses import TRY_AGAIN, check_status, is_range, passing_failure, reason

try:
    import requests
    import requests.adapters
    import requests.exceptions

    REQUESTS_ERROR: str | None = None
except ImportError as error:
    REQUESTS_ERROR = str(error)

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

CHUNK = 1 << 20
MAX_REDIRECTS = 10
#: Seconds to connect. A dropped connection attempt must not take as long as a slow response.
CONNECT = 15.0
#: Servers that sign links for one method answer HEAD with one of these.
NO_HEAD = frozenset({400, 403, 405, 501})
#: Seconds to wait after consecutive failures, None to give up; receives the seconds that the server asks for.
Pause = Callable[[int, Optional[float]], Optional[float]]


def few_retries(failures: int, asked: float | None) -> float | None:
    """Pause up to five times, for a caller without a backoff of its own."""
    pauses = (1.0, 2.0, 4.0, 8.0, 16.0)
    if failures > len(pauses) or (asked or 0.0) > 60.0:
        return None
    return pauses[failures - 1] if asked is None else asked


class HttpClient:
    """Reads files from http, https and file URLs.

    :param pause: chooses the pause after each failure.
    :param token: bearer token for the hosts of C(trusted); no host that a redirect or mirror names gets it.
    :param trusted: URLs whose hosts may get the token.
    :param timeout: seconds without a response, or without a byte, that count as a failure.
    :param proxy: URL of a proxy for all requests; by default, the environment decides.
    :param connections: number of connections to keep alive.
    :param notify: receives the reason of each pause.
    """

    def __init__(
        self,
        pause: Pause = few_retries,
        token: str | None = None,
        trusted: Sequence[str] = (),
        timeout: float = 60.0,
        proxy: str | None = None,
        connections: int = 8,
        notify: Callable[[str], object] = str,
    ) -> None:
        self._pause = pause
        self._token = token
        self._trusted = tuple(trusted)
        self._timeout = timeout
        self._proxies = {"http": proxy, "https": proxy} if proxy else None
        self._notify = notify
        self._session = None
        #: The end of a URL's redirects, with the headers that they published. Signed addresses expire; then the
        #: redirects are followed again.
        self._ends: dict[str, tuple[str, dict[str, str]]] = {}
        #: The validator of the content at a URL, as its server writes it.
        self._validators: dict[str, str] = {}
        if REQUESTS_ERROR is None:
            self._session = requests.Session()
            for scheme in ("http://", "https://"):
                adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections + 1)
                self._session.mount(scheme, adapter)

    def describe(self, url: str, patient: bool = True) -> RemoteFile:
        """Ask for the size and identity of a file, without its content.

        :param patient: whether to retry as often as the backoff allows; otherwise retry once.
        """
        if urlsplit(url).scheme == "file":
            return describe_file(url)
        failures = 0
        while True:
            try:
                return self._describe(url)
            except TransientFailureError as error:
                failures += 1
                self._wait(error, failures, patient or failures == 1)

    def read(self, url: str, size: int | None, tag: str | None) -> Iterator[tuple[int, bytes]]:
        """Read a whole file, each piece with its position, over one connection.

        A piece at position 0 after others means that the server cannot continue and began again.

        :param size: as C(tag), from describe(); other content is rejected.
        """
        position = failures = 0
        while size is None or position < size:
            try:
                with contextlib.closing(self.open(url, position, None, position > 0)) as content:
                    if content.remote.tag != tag or size not in (None, content.remote.size):
                        raise MismatchError(
                            f"the same {public_url(url)} as before (ETag {tag}, {size} bytes)",
                            f"ETag {content.remote.tag}, {content.remote.size} bytes",
                            "the file was replaced while it was fetched: run again to fetch the new one",
                        )
                    position = position if content.ranged else 0
                    while data := content.read(CHUNK):
                        failures = 0
                        yield position, data
                        position += len(data)
                if size is not None and position < size:
                    raise passing_failure(url, f"the server closed the connection after {position} of {size} bytes")
                return
            except TransientFailureError as error:
                failures += 1
                self._wait(error, failures)

    def _wait(self, error: TransientFailureError, failures: int, is_patient: bool = True) -> None:
        """Pause before the next try, or give up."""
        pause = self._pause(failures, error.pause) if is_patient else None
        if pause is None:
            raise error.after_retries(failures)
        self._notify(f"{error.found}; trying again in {pause:.0f} s")
        time.sleep(pause)

    def open(self, url: str, start: int, end: int | None, ranged: bool) -> HttpContent | FileContent:
        """Ask for bytes.

        :param ranged: whether to ask for a range; otherwise for the whole file.
        :returns: a successful response; its C(ranged) tells where the body begins.
        """
        if urlsplit(url).scheme == "file":
            return FileContent(url, start if ranged else 0, end)
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if ranged else {}
        validator = self._validators.get(url)
        if ranged and validator is not None:
            # If the file was replaced, the server sends all of the new one. Its tag shows that, so nothing is mixed.
            headers["If-Range"] = validator
        known = url in self._ends
        response, remote = self._follow("GET", url, headers)
        if known and response.status_code not in (200, 206) and response.status_code not in TRY_AGAIN:
            # The signed address has expired.
            response.close()
            del self._ends[url]
            response, remote = self._follow("GET", url, headers)
        try:
            check_status(url, response, bool(self._token))
            has_range = is_range(url, response, start if ranged else 0)
        except HerdError:
            self._ends.pop(url, None)
            response.close()
            raise
        self._remember(url, response)
        return HttpContent(remote, ranged and has_range, response)

    def _describe(self, url: str) -> RemoteFile:
        response, remote = self._follow("HEAD", url, {}, published_is_enough=True)
        if response.status_code in NO_HEAD and remote.sha256 is None:
            response.close()
            response, remote = self._follow("GET", url, {"Range": "bytes=0-0"})
        try:
            if not (remote.sha256 is not None and response.is_redirect):
                check_status(url, response, bool(self._token))
                self._remember(url, response)
        finally:
            _leave(response)
        return remote

    def _remember(self, url: str, response: Response) -> None:
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        # A weak tag does not guarantee the same bytes, and is not allowed with ranges.
        if validator is not None and not validator.startswith("W/"):
            self._validators[url] = validator
        else:
            self._validators.pop(url, None)

    def _follow(
        self, method: str, url: str, headers: dict[str, str], published_is_enough: bool = False
    ) -> tuple[Response, RemoteFile]:
        """Send a request and follow redirects; keep the headers that the redirects publish."""
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
                return response, responses.describe(response, published)
            _leave(response)
            here = urljoin(here, target)
            if urlsplit(here).scheme not in ("http", "https"):
                raise RemoteFailureError(
                    f"{public_url(url)} to lead to a web server", f"a redirect to {public_url(here)}", "check the URL"
                )
        raise RemoteFailureError(
            f"at most {MAX_REDIRECTS} redirects from {public_url(url)}",
            f"another one to {public_url(here)}",
            "open the address in a browser and use the one that serves the file",
        )

    def _ask(self, method: str, url: str, here: str, headers: dict[str, str]) -> Response:
        """Send one request; tell failures that may pass from those that will not."""
        if self._session is None:
            raise NotFoundError.plain(
                f'Python library "requests" is not installed on the host ({REQUESTS_ERROR})', "run the role node first"
            )
        token = self._token if any(_same_place(trusted, here) for trusted in self._trusted) else None

        def authorise(request: PreparedRequest) -> PreparedRequest:
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            return request

        try:
            return self._session.request(
                method,
                here,
                # Compressed bytes would have other positions, sizes and checksums.
                headers={**headers, "Accept-Encoding": "identity"},
                # Always set, so that requests does not use credentials of ~/.netrc.
                auth=authorise,
                allow_redirects=False,
                stream=True,
                timeout=(min(CONNECT, self._timeout), self._timeout),
                proxies=self._proxies,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
            raise RemoteFailureError(
                f"a valid URL behind {public_url(url)}", reason(error), "correct the URL in the inventory"
            ) from None
        except requests.exceptions.SSLError as error:
            if "EOF" in str(error):
                raise passing_failure(url, "the connection broke while it was secured") from None
            raise RemoteFailureError(
                f"a trusted certificate from {public_url(here)}",
                reason(error),
                "install the authority's certificate on the node, or set REQUESTS_CA_BUNDLE",
            ) from None
        except requests.exceptions.RequestException as error:
            self._ends.pop(url, None)
            raise passing_failure(url, reason(error)) from None


def _leave(response: Response) -> None:
    """Close a response, and keep its connection where that costs nothing."""
    if response.request.method == "HEAD" or response.headers.get("Content-Length") == "0":
        with contextlib.suppress(requests.exceptions.RequestException):
            response.raw.read()
        response.raw.release_conn()
    else:
        response.close()


def _same_place(first: str, second: str) -> bool:
    """Return whether the token for the first address may be sent to the second."""
    one, other = urlsplit(first), urlsplit(second)
    if one.hostname != other.hostname:
        return False
    upgraded = (one.scheme, other.scheme) == ("http", "https") and {one.port, other.port} <= {None, 80, 443}
    return upgraded or (one.scheme, one.port) == (other.scheme, other.port)
