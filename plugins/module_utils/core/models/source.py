# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the header of a model's file is read from."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """A file, or a file on a server that serves ranges.

    :ivar size: bytes of the whole file.
    :ivar name: its name in errors.
    """

    @property
    def size(self) -> int: ...

    @property
    def name(self) -> str: ...

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer only at the end."""
