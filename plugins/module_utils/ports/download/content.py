# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a remote or local file, read piece by piece."""

from __future__ import annotations

import http.client
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ...core.download.identity import RemoteFile
from ...core.download.retry import SlowTransferDetector
from ...core.errors import NotFoundError, TransientFailureError
from .failures import passing_failure, reason

if TYPE_CHECKING:
    from requests import Response


class HttpContent:
    """A response whose body is read piece by piece.

    :param window: seconds over which the rate of the connection is measured.

    :ivar ranged: whether the body begins at the requested position; otherwise it begins at the start of the file.
    """

    def __init__(self, remote: RemoteFile, ranged: bool, response: Response, window: float) -> None:
        self.remote = remote
        self.ranged = ranged
        self._response = response
        # Read below urllib3, whose reader waits for all requested bytes: a server that sends one byte a minute would
        # never be detected. (urllib3 has read1() since 2.1; nodes have older versions.)
        self._body: Any = getattr(response.raw, "_fp", response.raw)
        # Counted here: before Python 3.12, read1() does not detect the end of the body and waits for more.
        self._left: int | None = getattr(self._body, "length", None)
        self._error: TransientFailureError | None = None
        self._detector = SlowTransferDetector(window)

    def read(self, most: int) -> bytes:
        """Read the bytes that have arrived, at least one and at most C(most); none at the end."""
        if self._left is not None:
            most = min(most, self._left)
        if not most:
            return b""
        if self._error is not None:
            # The caller took the bytes before the failure, and asks again.
            raise self._error
        began = time.monotonic()
        try:
            data: bytes = self._body.read1(most)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._error = passing_failure(self._response.url, reason(error))
            raise self._error from None
        if self._left is not None:
            self._left -= len(data)
        if data and self._detector.is_too_slow(len(data), time.monotonic() - began):
            self._error = passing_failure(self._response.url, self._detector.found)
        return data

    def close(self) -> None:
        """Keep the connection for the next request if the body was read to its end."""
        if self._left == 0:
            # Without this read, the connection does not accept the next request.
            self._body.length = 0
            self._body.read()
            self._response.raw.release_conn()
        else:
            self._response.close()


class FileContent:
    """The content of a local file, which always begins at the requested position."""

    ranged = True

    def __init__(self, url: str, start: int, end: int | None) -> None:
        self.remote = describe_file(url)
        self._url = url
        self._position = start
        self._end = end
        try:
            self._fd = os.open(_path_of(url), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unreadable(url, str(error.strerror)) from None

    def read(self, most: int) -> bytes:
        left = most if self._end is None else min(most, self._end - self._position)
        try:
            data = os.pread(self._fd, left, self._position)
        except OSError as error:
            raise passing_failure(self._url, str(error.strerror)) from None
        self._position += len(data)
        return data

    def close(self) -> None:
        os.close(self._fd)


def _path_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def describe_file(url: str) -> RemoteFile:
    try:
        status = _path_of(url).stat()
    except OSError as error:
        raise _unreadable(url, str(error.strerror)) from None
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(url, "something else there")
    return RemoteFile(status.st_size, None, f"{status.st_ino}-{status.st_mtime_ns}")


def _unreadable(url: str, why: str) -> NotFoundError:
    return NotFoundError(f"a file at {url}", why, "mount the storage on this host, or correct the path")
