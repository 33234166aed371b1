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
import http.client
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Optional, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from ...core.download import refusals
from ...core.download.identity import RemoteFile, checked_token, public_url
from ...core.download.retry import Backoff
from ...core.errors import (
    HerdError,
    MismatchError,
    NotFoundError,
    TransientFailureError,
)
from . import deadline, framing, no_proxy, redirects
from .content import FileContent, HttpContent, describe_file
from .failures import checked_proxy, failure, passing_failure
from .responses import check_status, describe, is_range, validator_of

try:
    import requests
    import requests.exceptions
    import requests.utils

    REQUESTS_ERROR: str | None = None

    class _Session(requests.Session):
        """A session that leaves redirects to the client: requests would read their bodies to the end."""

        def get_redirect_target(self, resp: Response) -> str | None:
            return None

except ImportError as error:
    REQUESTS_ERROR = str(error)

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

CHUNK = 1 << 20
#: Seconds to connect. A dropped connection attempt must not take as long as a slow response.
CONNECT = 15.0
#: Timeouts that the headers of a response may take altogether.
HEADERS = 2
#: Statuses of HEAD that a GET would get too.
SAME_FOR_GET = frozenset({401, 407, 511})
#: Seconds to wait after consecutive failures, None to give up; receives the seconds that the server asks for.
Pause = Callable[[int, Optional[float]], Optional[float]]
#: The end of redirects, with the headers that they published.
End = tuple[str, dict[str, str]]
_Result = TypeVar("_Result")


class HttpClient:
    """Reads files from http, https and file URLs.

    :param pause: chooses the pause after each failure; by default a Backoff.
    :param token: bearer token for the hosts of C(trusted); no host that a redirect or mirror names gets it.
    :param trusted: URLs whose hosts may get the token.
    :param timeout: seconds without a response, or without a byte, that count as a failure.
    :param proxy: URL of a proxy for all requests; by default, the environment decides.
    :param connections: number of connections to keep alive.
    :param notify: receives the reason of each pause.
    """

    def __init__(
        self,
        pause: Pause | None = None,
        token: str | None = None,
        trusted: Sequence[str] = (),
        timeout: float = 60.0,
        proxy: str | None = None,
        connections: int = 8,
        notify: Callable[[str], object] = str,
    ) -> None:
        self._pause = pause or Backoff().pause
        self._token = checked_token(token)
        self._trusted = tuple(trusted)
        self._timeout = timeout
        self._proxies = {"http": proxy, "https": proxy} if proxy else None
        self._notify = notify
        self._session = None
        #: The end of a URL's redirects, with the headers that they published. Signed addresses expire; then the
        #: redirects are followed again.
        self._ends: dict[str, End] = {}
        #: The validator of the content of a URL at the end of its redirects, as the server there writes it.
        self._validators: dict[tuple[str, str], str] = {}
        if REQUESTS_ERROR is None:
            self._session = _Session()
            for scheme in ("http://", "https://"):
                self._session.mount(scheme, framing.adapter(connections + 1))

    def describe(self, url: str, patient: bool = True) -> RemoteFile:
        """Ask for the size and identity of a file, without its content.

        :param patient: whether to retry as often as the backoff allows; otherwise retry once.
        """
        if urlsplit(url).scheme == "file":
            return describe_file(url)
        # A server that does not answer HEAD may answer a GET.
        methods = itertools.cycle((self._describe, self._describe_by_get))
        return self.patiently(lambda: next(methods)(url), patient)

    def patiently(self, work: Callable[[], _Result], patient: bool = True) -> _Result:
        """Repeat a call after failures that may pass.

        :param patient: whether to retry as often as the backoff allows; otherwise retry once.
        """
        failures = 0
        while True:
            try:
                return work()
            except TransientFailureError as error:
                failures += 1
                self._wait(error, failures, patient or failures == 1)

    def opening(self, url: str, most: int) -> bytes:
        """Read the first bytes of a file; none if that fails."""
        with contextlib.suppress(HerdError), contextlib.closing(self.open(url, 0, None, False)) as content:
            return content.read(most)
        return b""

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
        known = self._ends.get(url)
        if known is not None:
            try:
                return self._open(url, known, start, headers)
            except TransientFailureError:
                self._ends.pop(url, None)
                raise
            except HerdError:
                # The signed address has expired, or does not lead to the file any more.
                self._ends.pop(url, None)
        return self._open(url, (url, {}), start, headers)

    def _open(self, url: str, begin: End, start: int, headers: dict[str, str]) -> HttpContent:
        response, here, remote = self._follow("GET", url, begin, headers)
        try:
            check_status(url, response, bool(self._token))
            has_range = is_range(url, response, start if headers else 0)
        except HerdError:
            self._ends.pop(url, None)
            response.close()
            raise
        self._remember(url, here, response)
        return HttpContent(remote, bool(headers) and has_range, response, self._timeout)

    def _describe(self, url: str) -> RemoteFile:
        """Ask with HEAD, and with GET where HEAD is refused or gives no size."""
        response, here, remote = self._follow("HEAD", url, (url, {}), {}, published_is_enough=True)
        try:
            if remote.sha256 is not None and response.is_redirect:
                return remote
            if remote.size or response.status_code in SAME_FOR_GET or refusals.may_pass(response.status_code):
                check_status(url, response, bool(self._token))
                self._remember(url, here, response)
                return remote
        except HerdError as error:
            if response.status_code in SAME_FOR_GET or isinstance(error, TransientFailureError):
                raise
        finally:
            _leave(response)
        return self._describe_by_get(url)

    def _describe_by_get(self, url: str) -> RemoteFile:
        response, here, remote = self._follow("GET", url, (url, {}), {"Range": "bytes=0-0"})
        try:
            check_status(url, response, bool(self._token))
            self._remember(url, here, response)
        finally:
            _leave(response)
        return remote

    def _remember(self, url: str, here: str, response: Response) -> None:
        validator = validator_of(response)
        if validator is not None:
            self._validators[url, public_url(here)] = validator
        else:
            self._validators.pop((url, public_url(here)), None)

    def _follow(
        self, method: str, url: str, begin: End, headers: dict[str, str], published_is_enough: bool = False
    ) -> tuple[Response, str, RemoteFile]:
        """Send a request and follow redirects; keep the headers that the redirects publish.

        :param begin: the address to ask first.
        :returns: the last response, its address, and the file.
        """
        here, published = begin[0], dict(begin[1])
        for _hop in range(redirects.MAX_REDIRECTS + 1):
            response = self._ask(method, url, here, self._conditional(url, here, headers))
            for name in redirects.PUBLISHED:
                if name in response.headers:
                    published.setdefault(name, response.headers[name])
            if not response.is_redirect or (published_is_enough and "X-Linked-Etag" in published):
                try:
                    remote = describe(url, response, published)
                except HerdError:
                    response.close()
                    raise
                if response.status_code in (200, 206) and here != url:
                    self._ends[url] = (here, published)
                return response, here, remote
            _leave(response)
            here = redirects.next_address(url, here, response.headers["Location"])
        raise redirects.too_many(url, here)

    def _conditional(self, url: str, here: str, headers: dict[str, str]) -> dict[str, str]:
        """Ask for a range only if the file is the same; otherwise the server sends all of the new one."""
        validator = self._validators.get((url, public_url(here))) if headers else None
        return headers if validator is None else {**headers, "If-Range": validator}

    def _ask(self, method: str, url: str, here: str, headers: dict[str, str]) -> Response:
        """Send one request; tell failures that may pass from those that will not."""
        if self._session is None:
            raise NotFoundError.plain(
                f'Python library "requests" is not installed on the host ({REQUESTS_ERROR})', "run the role node first"
            )
        session = self._session
        proxies = self._proxies_for(here)
        proxy = self._proxy_of(session, here, proxies)
        token = self._token if redirects.may_get_token(self._trusted, here) else None

        def authorise(request: PreparedRequest) -> PreparedRequest:
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            return request

        def send() -> Response:
            return session.request(
                method,
                here,
                # Compressed bytes would have other positions, sizes and checksums.
                headers={**headers, "Accept-Encoding": "identity"},
                # Always set, so that requests does not use credentials of ~/.netrc.
                auth=authorise,
                allow_redirects=False,
                stream=True,
                timeout=(min(CONNECT, self._timeout), self._timeout),
                proxies=proxies,
            )

        try:
            longest = min(CONNECT, self._timeout) + HEADERS * self._timeout
            return deadline.call(longest, send, lambda late: late.close())
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._ends.pop(url, None)
            raise failure(url, here, error, proxy) from None

    def _proxies_for(self, here: str) -> dict[str, str] | None:
        """Return the proxies of the option; without one, None to use those of the environment, or that none is used."""
        if self._proxies is None and no_proxy.lists(getproxies_environment().get("no", ""), here):
            return {"no_proxy": "*"}
        return self._proxies

    def _proxy_of(self, session: requests.Session, here: str, proxies: dict[str, str] | None) -> str | None:
        """Return the URL of the proxy for an address: from the option, or from the environment."""
        given = dict(proxies or {})
        merged = session.merge_environment_settings(here, given, None, None, None)["proxies"]
        proxy = requests.utils.select_proxy(here, merged)
        return checked_proxy(proxy) if proxy else None


def _leave(response: Response) -> None:
    """Close a response, and keep its connection where that costs nothing."""
    is_empty = response.headers.get("Content-Length") == "0" and "Transfer-Encoding" not in response.headers
    if response.request.method == "HEAD" or is_empty:
        with contextlib.suppress(requests.exceptions.RequestException):
            response.raw.read()
        response.raw.release_conn()
    else:
        response.close()
