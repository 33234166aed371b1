# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a model's header from a file, or in ranges from a server. Only the requested bytes are read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...core.errors import InvalidInputError, MismatchError, NotFoundError, RemoteFailureError, TransientFailureError
from ..download.http_client import HttpClient


class FileSource:
    """A local file, which may grow or shrink meanwhile."""

    def __init__(self, path: Path, handle: int) -> None:
        self._handle = handle
        self.name = str(path)
        self.size = os.fstat(handle).st_size
        self.read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer at the end."""
        data = os.pread(self._handle, length, offset)
        self.read_bytes += len(data)
        return data


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[FileSource]:
    """Open a file, which stays the same while it is read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"a model at {path}", "no such file", "correct the path, or fetch the model first"
        ) from error
    except OSError as error:
        raise InvalidInputError(
            f"a file that can be read at {path}", str(error.strerror), "correct its permissions"
        ) from error
    try:
        if not path.is_file():
            raise InvalidInputError(f"a file at {path}", "something else there", "name the model's file")
        yield FileSource(path, handle)
    finally:
        os.close(handle)


class RemoteSource:
    """A file on a server, or behind a C(file) URL, read in ranges."""

    def __init__(self, client: HttpClient, url: str, name: str) -> None:
        self._client, self._url = client, url
        self.name = name
        remote = client.describe(url)
        if remote.size is None:
            raise RemoteFailureError(
                f"the size of {name} from its server", "none", "fetch the model and read the file, or name a mirror"
            )
        self.size = remote.size
        self._tag: str | None = None
        self.read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset; retry after a failure that may pass."""
        return self._client.patiently(lambda: self._read(offset, length))

    def _read(self, offset: int, length: int) -> bytes:
        with contextlib.closing(self._client.open(self._url, offset, offset + length, ranged=True)) as content:
            if not content.ranged and offset > 0:
                raise RemoteFailureError(
                    f"bytes {offset} to {offset + length - 1} of {self.name}",
                    "a response with the whole file: the server serves no ranges",
                    "fetch the model and read the file, or name a mirror",
                )
            if self._tag is None:
                self._tag = content.remote.tag
            elif content.remote.tag != self._tag:
                raise MismatchError(
                    f"the same {self.name} as a moment ago", "another ETag", "the file was replaced: run again"
                )
            pieces: list[bytes] = []
            left = length
            while left > 0 and (data := content.read(left)):
                pieces.append(data)
                left -= len(data)
            self.read_bytes += length - left
            missing = min(length, self.size - offset) - (length - left)
            if missing > 0:
                raise TransientFailureError.of_content(self.name, f"a response that ends {missing} bytes too early")
            return b"".join(pieces)


class JoinedSource:
    """Byte parts, read as one file."""

    def __init__(self, parts: Sequence[RemoteSource], name: str) -> None:
        self._parts = list(parts)
        self.name = name
        self.size = sum(part.size for part in self._parts)

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, across parts."""
        pieces: list[bytes] = []
        for part in self._parts:
            if 0 <= offset < part.size and length > 0:
                pieces.append(part.read(offset, min(length, part.size - offset)))
                length -= len(pieces[-1])
                offset += len(pieces[-1])
            offset -= part.size
        return b"".join(pieces)
