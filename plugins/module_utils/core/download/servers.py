# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the requests to each server, over all files of a run: a server counts requests, not files."""

from __future__ import annotations

from .parts import server_of

#: Complete responses, for each request at the same time, after which a server may get one request more.
RESPONSES = 8


class Server:
    """The limits of one server, as its refusals showed them.

    :ivar width: most requests at the same time; None if the server never refused one.
    :ivar resume_at: moment of the next request.
    """

    def __init__(self) -> None:
        self.width: int | None = None
        self.resume_at = float("-inf")
        self._good = 0
        self._needed = RESPONSES

    def refused(self, others: int, resume_at: float | None) -> None:
        """Send fewer requests at a time after one was refused.

        :param others: requests that are still under way.
        :param resume_at: the moment that the server asked for, if any.
        """
        narrower = max(1, others)
        if self.width is None or narrower < self.width:
            self.width = narrower
        if self._good:
            # The width had grown too early.
            self._good = 0
            self._needed *= 2
        if resume_at is not None:
            self.resume_at = max(self.resume_at, resume_at)

    def completed(self) -> None:
        """Send one more request at a time after many complete responses; after each refusal, twice as many."""
        if self.width is None:
            return
        self._good += 1
        if self._good >= self._needed * self.width:
            self._good = 0
            self.width += 1


class Servers:
    """All servers of a run."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}

    def of(self, url: str) -> Server:
        """Return the server of a URL."""
        return self._servers.setdefault(server_of(url), Server())
