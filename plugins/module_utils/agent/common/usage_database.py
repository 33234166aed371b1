# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database of usage: one row for each hour, key, user, project, model and tier, and one for each key's month.

A batch of usage is one transaction. So a killed process leaves a batch counted as a whole or not at all, and two
instances of the gateway add to the same rows.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from urllib.parse import quote

from ...core.errors import InvalidInputError, NotFoundError
from ...core.gateway.usage import counts
from ...core.gateway.usage.counts import Usage, UsageKey
from ...core.gateway.usage.report import Period
from ...core.timefmt import DAY

VERSION = 1
FILE_MODE = 0o640
#: Seconds for which a write waits for that of the other instance.
PATIENCE_S = 5.0
#: Bytes of the write-ahead log that stay on the disk.
_LOG_BYTES = 4 << 20
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS hours ("
    " hour INTEGER NOT NULL, key TEXT NOT NULL, user TEXT NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL,"
    " tier TEXT NOT NULL, requests INTEGER NOT NULL, cut INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,"
    " completion_tokens INTEGER NOT NULL, estimated_tokens INTEGER NOT NULL,"
    " PRIMARY KEY (hour, key, user, project, model, tier)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS hours_of_key ON hours (key, hour)",
    "CREATE TABLE IF NOT EXISTS months (month TEXT NOT NULL, key TEXT NOT NULL, tokens INTEGER NOT NULL,"
    " PRIMARY KEY (month, key)) WITHOUT ROWID",
    f"PRAGMA user_version = {VERSION}",
)
_ADD = (
    "INSERT INTO hours VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (hour, key, user, project, model, tier) DO UPDATE SET requests = requests + excluded.requests,"
    " cut = cut + excluded.cut, prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = completion_tokens + excluded.completion_tokens,"
    " estimated_tokens = estimated_tokens + excluded.estimated_tokens"
)
_ADD_MONTH = (
    "INSERT INTO months VALUES (?, ?, ?) ON CONFLICT (month, key) DO UPDATE SET tokens = tokens + excluded.tokens"
)
_READ = (
    "SELECT hour, key, user, project, model, tier, requests, cut, prompt_tokens, completion_tokens, estimated_tokens"
    " FROM hours WHERE hour >= ? AND hour < ?"
)


class UsageDatabase:
    """The database for the gateway, which writes it."""

    def __init__(self, path: Path) -> None:
        """Open the database, and create it if it is not there.

        :raises OSError: if its file cannot be created.
        :raises sqlite3.Error: if it cannot be opened.
        :raises InvalidInputError: if another version of this program has made it.
        """
        # Its companions get the mode of the file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        if path.stat().st_uid == os.geteuid():
            path.chmod(FILE_MODE)
        self._pruned = 0
        self._connection = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            if _version(self._connection) == 0:
                with self._transaction():
                    for statement in _SCHEMA:
                        self._connection.execute(statement)
            _check_version(self._connection, path)
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def add(self, batch: Mapping[UsageKey, Usage], wall: float, keep_days: int) -> dict[str, int]:
        """Add usage, and return the tokens of the present month by key.

        :param wall: UNIX time.
        :param keep_days: days after which rows are deleted.
        :raises sqlite3.Error: if nothing was added.
        """
        with self._transaction():
            self._connection.executemany(_ADD, [(*astuple(row), *astuple(usage)) for row, usage in batch.items()])
            months = [(*place, tokens) for place, tokens in counts.month_tokens(batch).items()]
            self._connection.executemany(_ADD_MONTH, months)
            self._prune(wall, keep_days)
        return self.month_tokens(wall)

    def month_tokens(self, wall: float) -> dict[str, int]:
        """Return the tokens of the present month by key."""
        rows = self._connection.execute("SELECT key, tokens FROM months WHERE month = ?", (counts.month_of(wall),))
        return {str(key): int(tokens) for key, tokens in rows}

    def _prune(self, wall: float, keep_days: int) -> None:
        """Delete old rows, once an hour. The present month always stays: budgets count it."""
        hour = counts.hour_of(wall)
        if hour == self._pruned:
            return
        oldest = min(hour - keep_days * DAY, counts.month_begin(wall))
        self._connection.execute("DELETE FROM hours WHERE hour < ?", (oldest,))
        self._connection.execute("DELETE FROM months WHERE month < ?", (counts.month_of(oldest),))
        self._pruned = hour

    def rows(self, covered: Period, key: str) -> list[tuple[UsageKey, Usage]]:
        """Return the rows of a key."""
        return list(_rows(self._connection, covered, key))

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def read_rows(path: Path, covered: Period) -> list[tuple[UsageKey, Usage]]:
    """Read all rows of a period, while the gateway writes or not.

    :raises NotFoundError: if there is no database, or it cannot be read.
    """
    try:
        if not path.exists():
            raise FileNotFoundError(2, "no such file")
        address = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as connection:
            if _version(connection) == 0:
                # The gateway is creating it.
                return []
            _check_version(connection, path)
            return list(_rows(connection, covered))
    except (OSError, sqlite3.Error) as error:
        raise NotFoundError(
            f"the gateway's usage at {path}",
            (error.strerror if isinstance(error, OSError) else None) or str(error),
            "run this as root on the gateway's host, after the role gateway and a first request",
        ) from error


def _rows(connection: sqlite3.Connection, covered: Period, key: str | None = None) -> Iterator[tuple[UsageKey, Usage]]:
    only = "" if key is None else " AND key = ?"
    values = (covered.since, covered.until, *(() if key is None else (key,)))
    for row in connection.execute(f"{_READ}{only} ORDER BY hour", values):
        yield UsageKey(*row[:6]), Usage(*row[6:])


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    found = _version(connection)
    if found != VERSION:
        raise InvalidInputError(
            f"usage of schema {VERSION} at {path}",
            f"schema {found}",
            "run the role gateway, which installs one version of all programs, or move the file away",
        )
