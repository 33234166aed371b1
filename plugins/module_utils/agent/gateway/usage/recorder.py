# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what requests use: in memory at once, and in the database shortly after.

The database is written by a thread, so that a slow disk delays no request.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ....core.errors import HerdError
from ....core.gateway.usage import counts
from ....core.gateway.usage.counts import Usage, UsageKey
from ....core.gateway.usage.report import Period
from ...common.log import log
from ...common.usage_database import UsageDatabase

#: Seconds for which usage is collected, as the access log's lines are.
COLLECT_S = 0.05
#: Seconds until the next try after a failed write.
RETRY_S = 5.0
#: Rows that wait for a database which cannot be written.
MOST_ROWS = 20_000


class UsageRecorder:
    """The usage of all keys.

    :ivar is_on: whether usage is stored. Without a database, it is only counted in memory.
    """

    def __init__(self, path: Path | None, keep_days: int) -> None:
        self.is_on = path is not None
        self._path, self._keep_days = path, keep_days
        self._database: UsageDatabase | None = None
        self._thread = ThreadPoolExecutor(1, "usage")
        self._pending: dict[UsageKey, Usage] = {}
        self._month = ""
        #: Tokens of the month by key: stored ones, and those that wait.
        self._stored: dict[str, int] = {}
        self._waiting: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._flush: asyncio.Task[None] | None = None
        self._trouble = ""

    def add(self, row: UsageKey, usage: Usage) -> None:
        """Record what a request used."""
        self._follow_month(row.hour)
        self._waiting[row.key] += usage.tokens
        if row not in self._pending and len(self._pending) >= MOST_ROWS:
            self._report(f"no more than {MOST_ROWS} rows can wait: usage is lost")
            return
        self._pending[row] = self._pending.get(row, Usage()) + usage
        self._schedule(COLLECT_S)

    def month_tokens(self, key: str, wall: float) -> int:
        """Return the tokens that a key has used in the present month.

        :param wall: UNIX time.
        """
        self._follow_month(wall)
        return self._stored.get(key, 0) + self._waiting[key]

    def _follow_month(self, wall: float) -> None:
        month = counts.month_of(wall)
        if month > self._month:
            self._month, self._stored, self._waiting = month, {}, Counter()

    def load(self) -> None:
        """Read the month's tokens, before the first request."""
        if self._path is None:
            return
        try:
            self._follow_month(time.time())
            self._stored = self._opened().month_tokens(time.time())
        except (OSError, sqlite3.Error, HerdError) as error:
            self._report(f"{error}: budgets begin with this process")

    def refresh(self) -> None:
        """Read what the other instance has added, soon."""
        self._schedule(0.0)

    def _schedule(self, seconds: float) -> None:
        if self._path is not None and self._timer is None and self._flush is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin_flush)

    def _begin_flush(self) -> asyncio.Task[None]:
        self._timer = None
        self._flush = asyncio.create_task(self.flush())
        return self._flush

    async def flush(self) -> None:
        """Write what waits, and read the month's tokens."""
        batch, self._pending = self._pending, {}
        wall, delay = time.time(), COLLECT_S
        try:
            stored = await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch, wall)
        except (OSError, sqlite3.Error, HerdError) as error:
            self._report(str(error))
            for row, usage in batch.items():
                self._pending[row] = self._pending.get(row, Usage()) + usage
            delay = RETRY_S
        else:
            self._settle(batch, stored, wall)
        self._flush = None
        if self._pending:
            self._schedule(delay)

    def _settle(self, batch: Mapping[UsageKey, Usage], stored: dict[str, int], wall: float) -> None:
        """Take over the month's tokens from the database."""
        if self._trouble:
            self._trouble = ""
            log("usage is stored again")
        self._follow_month(wall)
        if counts.month_of(wall) == self._month:
            self._stored = stored
        for (month, key), tokens in counts.month_tokens(batch).items():
            if month == self._month:
                self._waiting[key] -= tokens
        self._waiting = +self._waiting

    def _opened(self) -> UsageDatabase:
        """Return the database, which is opened again after a failed write."""
        if self._database is None:
            self._database = UsageDatabase(self._path or Path())
        return self._database

    def _write(self, batch: Mapping[UsageKey, Usage], wall: float) -> dict[str, int]:
        try:
            database = self._opened()
            return database.add(batch, wall, self._keep_days) if batch else database.month_tokens(wall)
        except (OSError, sqlite3.Error):
            self._close_database()
            raise

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    async def rows(self, covered: Period, key: str) -> list[tuple[UsageKey, Usage]]:
        """Return a key's rows, with those that wait.

        :raises OSError: if the database cannot be opened.
        :raises sqlite3.Error: if it cannot be read.
        :raises HerdError: if another version has made it.
        """

        def read() -> list[tuple[UsageKey, Usage]]:
            return self._opened().rows(covered, key)

        found = []
        if self.is_on:
            await self._flush_now()
            found = await asyncio.get_running_loop().run_in_executor(self._thread, read)
        waiting = self._pending.items()
        return found + [(row, usage) for row, usage in waiting if row.key == key and covered.since <= row.hour]

    async def _flush_now(self) -> None:
        """Write what waits, unless a write runs or has just failed."""
        if self._flush is not None:
            await asyncio.wait([self._flush])
        elif self._pending and not self._trouble:
            self._stop_timer()
            await asyncio.wait([self._begin_flush()])

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Write what waits, and close the database."""
        self._stop_timer()
        if self._flush is not None:
            await asyncio.wait([self._flush])
        if self._pending and self._path is not None:
            await self.flush()
        self._stop_timer()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_database)
        self._thread.shutdown()

    def _report(self, trouble: str) -> None:
        """Log a trouble once."""
        if trouble != self._trouble:
            self._trouble = trouble
            log(f"usage cannot be stored in {self._path}, it waits in memory: {trouble}")
