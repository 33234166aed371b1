# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a checkpoint's facts from the Hugging Face Hub by ranges of its files, with the standard library alone.

A model of 400 GB takes some ten megabytes. The token goes only to the Hub's own host, never where it redirects to.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote, urljoin, urlsplit

from ...core.download import identity, refusals
from ...core.download.identity import public_url
from ...core.download.retry import Backoff
from ...core.errors import MismatchError, NotFoundError, RemoteFailureError, TransientFailureError, reason_of
from ...core.vllm.planning import checkpoint, hub_address, safetensors
from ...core.vllm.planning.checkpoint import Checkpoint

TIMEOUT = 30.0
#: Seconds for a whole response: a server may send a byte now and then.
LONGEST = 120.0
_PIECE = 64 << 10
#: Pauses after failures that may pass.
BACKOFF = Backoff(retries=3)
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to web servers; leave the token behind where the host changes."""

    max_redirections = 10

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = urljoin(req.full_url, newurl)
        here, there = urlsplit(req.full_url), urlsplit(target)
        if not hub_address.is_server(target) or (here.scheme, there.scheme) == ("https", "http"):
            raise _wrong_redirect(req.full_url, newurl)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (here.scheme, here.netloc) != (there.scheme, there.netloc):
            request.remove_header("Authorization")
        return request


def _wrong_redirect(url: str, target: str) -> RemoteFailureError:
    return RemoteFailureError(
        f"{public_url(url)} to lead to a web server",
        f"a redirect to {identity.shown(public_url(target))}",
        "check the endpoint",
    )


class HubFolder:
    """A repository of the Hub, or of a server with the same paths.

    :param token: of an account that has accepted the model's terms.
    :param endpoint: address of the server; a mirror may stand in for the Hub.
    """

    def __init__(
        self,
        huggingface_id: str,
        token: str | None = None,
        revision: str = "main",
        endpoint: str = hub_address.HUB,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._base = hub_address.folder_url(huggingface_id, revision, endpoint)
        self.name = huggingface_id
        self._token = identity.checked_token(token)
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_Redirects())

    @contextlib.contextmanager
    def open(self, file: str) -> Iterator[RangeSource]:
        """Open a file for reads at offsets. The first request reads most headers whole."""
        yield RangeSource(self, file)

    def fetch(self, file: str, offset: int, length: int) -> tuple[bytes, int]:
        """Return bytes of a file, and its size; retry after failures that may pass."""
        failures = 0
        while True:
            try:
                return self._request(file, offset, length)
            except TransientFailureError as error:
                failures += 1
                pause = BACKOFF.pause(failures, error.pause)
                if pause is None:
                    raise error.after_retries(failures) from None
                self._sleep(pause)

    def _request(self, file: str, offset: int, length: int) -> tuple[bytes, int]:
        url = f"{self._base}/{quote(file)}"
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            with self._opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
                return self._content(file, response, offset, length)
        except urllib.error.HTTPError as error:
            with error:
                self._refuse(file, error)
        except urllib.error.URLError as error:
            raise TransientFailureError.of_content(url, str(error.reason)[:120]) from None
        except ValueError:
            # The standard library reads the address of a redirect, which may be malformed.
            raise RemoteFailureError(
                f"{public_url(url)} to lead to a web server", "a redirect to no address", "check the endpoint"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise TransientFailureError.of_content(url, reason_of(error)[:120]) from None

    def _content(self, file: str, response: Any, offset: int, length: int) -> tuple[bytes, int]:
        """Read a response within its bound, and check that it is the requested range."""
        where = f"{file} of {self.name}"
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status == 206 and found and int(found[1]) == offset:
            size = int(found[3])
            wanted = min(length, max(0, size - offset))
        elif response.status == 200 and offset == 0:
            stated = _whole_number(response.headers.get("Content-Length", ""))
            if stated is None:
                raise RemoteFailureError(f"the size of {where}", "none", "use another endpoint")
            size, wanted = stated, min(length, stated)
        else:
            raise RemoteFailureError(
                f"bytes {offset} to {offset + length - 1} of {where}",
                f"status {response.status}, Content-Range {response.headers.get('Content-Range')!r}"[:120],
                "use an endpoint that serves ranges",
            )
        data = _read(response, wanted, where)
        if len(data) != wanted:
            raise TransientFailureError.of_content(where, f"{len(data)} of {wanted} bytes")
        return data, size

    def _refuse(self, file: str, error: urllib.error.HTTPError) -> NoReturn:
        where = f"{file} of {self.name}"
        refusal = refusals.Refusal.of(error.code, error.headers, bool(self._token))
        if refusals.may_pass(error.code):
            pause = refusals.pause(error.headers, time.time())
            raise TransientFailureError.of_content(where, f"status {error.code}{refusal.said}", pause) from None
        if refusal.is_denial or refusal.is_unknown_repository:
            raise hub_address.denied(self.name, refusal) from None
        if error.code in (404, 410):
            raise NotFoundError(f"{where} on the Hub", refusal.cause, "check the id and the revision") from None
        if error.code == 416:
            raise MismatchError(f"a file with content as {where}", "an empty file", "check the repository") from None
        raise RemoteFailureError(where, refusal.cause, "try again later") from None


def _whole_number(header: str) -> int | None:
    """Read a header of at most 18 digits; None for any other text. A header may hold digits such as ² too."""
    return int(header) if header.isascii() and header.isdigit() and len(header) <= 18 else None


def _read(response: Any, wanted: int, where: str) -> bytes:
    """Read so many bytes of a response, or fewer if it ends early, in bounded time."""
    deadline = time.monotonic() + LONGEST
    pieces: list[bytes] = []
    left = wanted
    while left > 0 and (piece := response.read1(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
        if left and time.monotonic() > deadline:
            raise TransientFailureError.of_content(where, f"{wanted - left} of {wanted} bytes in {LONGEST:.0f} s")
    return b"".join(pieces)


class RangeSource:
    """A file on the Hub, read at offsets."""

    def __init__(self, folder: HubFolder, file: str) -> None:
        self._folder, self._file = folder, file
        self.name = f"{file} of {folder.name}"
        self._first, self.size = folder.fetch(file, 0, safetensors.FIRST_READ)

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer only at the end."""
        if offset + length <= len(self._first):
            return self._first[offset : offset + length]
        data, size = self._folder.fetch(self._file, offset, length)
        if size != self.size:
            raise MismatchError(f"{self.size} bytes of {self.name}", str(size), "the file was replaced: run again")
        return data


def read(
    huggingface_id: str,
    token: str | None = None,
    revision: str = "main",
    endpoint: str = hub_address.HUB,
    report: Callable[[int, int], object] = lambda done, total: None,
) -> Checkpoint:
    """Read a checkpoint's facts.

    :param report: receives the number of files that are read, and of all files.
    """
    return checkpoint.read(HubFolder(huggingface_id, token, revision, endpoint), report)
