# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files of folders that other accounts write, where a name may lead to anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_PIECE = 1 << 20


def read_regular(path: Path, most: int, follow: bool = True) -> bytes:
    """Read a regular file without blocking: opening a FIFO would wait for its writer, reading a device may never end.

    :param most: bytes of the largest file that is read.
    :param follow: whether the name may be a symbolic link.
    :raises OSError: if it cannot be read, is no regular file, or is larger.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is not a regular file")
        data = bytearray()
        while len(data) <= most and (piece := os.read(handle, min(_PIECE, most + 1 - len(data)))):
            data += piece
    finally:
        os.close(handle)
    if len(data) > most:
        raise OSError(f"{path} has more than {most} bytes")
    return bytes(data)
