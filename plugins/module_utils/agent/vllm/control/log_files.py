# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a job's log in bounded memory: its end, what it says about troubles, and what is added to it."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ....core.text import CONTROL
from ....core.vllm import diagnosis

#: Bytes at the end of a log that are searched for troubles, and for the lines that a user asks for.
DIAGNOSED, SEARCHED = 4 << 20, 64 << 20
_PIECE = 1 << 20
#: A longer line is cut.
LONGEST = 16384
FOLLOW_EVERY_S = 0.5
_LABEL = re.compile(rb"^(\d{1,4}): ")


def _open(path: Path) -> BinaryIO:
    """Open a regular file; a FIFO in its place would block."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(handle, "rb")


def _lines(stream: BinaryIO, until: int | None = None) -> Iterator[bytes]:
    """Yield lines without their end, each at most LONGEST bytes."""
    left = -1 if until is None else until - stream.tell()
    while left != 0 and (line := stream.readline(LONGEST)):
        left = left - len(line) if left > 0 else left
        yield line.rstrip(b"\r\n")


def tail(path: Path, most: int = SEARCHED) -> Iterator[bytes]:
    """Yield the whole lines among the last bytes of a file."""
    with _open(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            stream.seek(size - most)
            stream.readline(_PIECE)
        yield from _lines(stream, size)


def read(path: Path | None) -> diagnosis.LogReader:
    """Read the end of a log for troubles; an empty result if there is no log."""
    reader = diagnosis.LogReader()
    with suppress(OSError):
        for line in tail(path, DIAGNOSED) if path else ():
            reader.feed(line.decode("utf-8", "replace"))
    return reader


def _text(line: bytes) -> str:
    """Decode a line for a terminal: a prompt in the log must not control it."""
    return CONTROL.sub(" ", line.decode("utf-8", "replace").replace("\t", "    "))


class Selection:
    """Which lines of a log a user wants.

    :param rank: only the lines of this rank; None for all.
    :param pattern: only lines that contain it.
    """

    def __init__(self, rank: int | None, pattern: re.Pattern[str] | None) -> None:
        self._rank, self._pattern = rank, pattern

    def takes(self, line: bytes) -> bool:
        """Return whether a line is wanted."""
        if self._rank is not None:
            found = _LABEL.match(line)
            if found is None or int(found[1]) != self._rank:
                return False
        return self._pattern is None or self._pattern.search(line.decode("utf-8", "replace")) is not None


def last(path: Path, count: int, selection: Selection) -> list[str]:
    """Return the last wanted lines among the last SEARCHED bytes."""
    kept: deque[bytes] = deque(maxlen=max(count, 0))
    kept.extend(line for line in tail(path) if selection.takes(line))
    return [_text(line) for line in kept]


def pause(seconds: float) -> None:
    """Wait until the next look at a log."""
    time.sleep(seconds)


def follow(path: Path, selection: Selection, is_over: Callable[[], bool]) -> Iterator[str]:
    """Yield wanted lines that are added to a log, until the job is over and all of them are read."""
    position, rest, is_last = path.stat().st_size if path.exists() else 0, b"", False
    while True:
        with suppress(FileNotFoundError), _open(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            position = min(position, size)
            stream.seek(position)
            while piece := stream.read(_PIECE):
                position += len(piece)
                *whole, rest = (rest + piece).split(b"\n")
                rest = rest[-LONGEST:]
                yield from (_text(line[:LONGEST]) for line in whole if selection.takes(line))
        if is_last:
            return
        is_last = is_over()
        if not is_last:
            pause(FOLLOW_EVERY_S)
