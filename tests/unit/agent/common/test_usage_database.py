# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database of usage: sums over restarts, kills and two instances, its mode, and what it deletes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from ansible_collections.herd.inference.plugins.module_utils.agent.common import usage_database
from ansible_collections.herd.inference.plugins.module_utils.agent.common.usage_database import UsageDatabase
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.counts import Usage, UsageKey
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.report import Period

ROOT = Path(__file__).parents[4]
NOW = 1796040000.0  # 2026-11-30T12:00:00Z
DAY = 86400
ALWAYS = Period(0, int(NOW) * 2)
#: Adds one request after the other, and writes a line for each that is stored.
WRITER = """
import sys
from pathlib import Path
from ansible_collections.herd.inference.plugins.module_utils.agent.common.usage_database import UsageDatabase
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.counts import Usage, UsageKey
database = UsageDatabase(Path(sys.argv[1]))
for _each in range(int(sys.argv[2])):
    database.add({UsageKey(1796040000, "ann", "ann", "", "small", "fast"): Usage(1, 0, 2, 3)}, 1796040000.0, 400)
    print("stored", flush=True)
"""


def row(hour: float = NOW, key: str = "ann", model: str = "small") -> UsageKey:
    return UsageKey(int(hour), key, key, "weather", model, "fast")


def test_batches_add_up_in_one_row_for_each_hour_key_and_model(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"
    for _each in range(2):
        database = UsageDatabase(path)
        assert database.add({row(): Usage(1, 0, 2, 3), row(model="large"): Usage(1)}, NOW, 400)["ann"] > 0
        database.close()
    assert dict(usage_database.read_rows(path, ALWAYS)) == {row(): Usage(2, 0, 4, 6), row(model="large"): Usage(2)}


def test_two_instances_and_a_kill_count_each_batch_once(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"
    other = UsageDatabase(path)
    command = [sys.executable, "-c", WRITER, str(path), "100000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout
        lines = [writer.stdout.readline() for _each in range(20)]
        for _each in range(20):
            other.add({row(key="bob"): Usage(1)}, NOW, 400)
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    told = sum(line == "stored\n" for line in lines)
    found = {counted.key: usage for counted, usage in usage_database.read_rows(path, ALWAYS)}
    # The last batch may have been stored without a line.
    assert found["ann"].requests - told in (0, 1)
    assert found["ann"] == Usage(*(found["ann"].requests * count for count in (1, 0, 2, 3)))
    assert found["bob"].requests == 20
    assert other.month_tokens(NOW)["ann"] == found["ann"].tokens
    other.close()


def test_only_its_user_and_group_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        database = UsageDatabase(tmp_path / "usage.sqlite3")
        database.add({row(): Usage(1)}, NOW, 400)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("usage.sqlite3", "usage.sqlite3-wal", "usage.sqlite3-shm"), 0o640)
    database.close()


def test_old_rows_are_deleted_and_the_present_month_stays(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"
    database = UsageDatabase(path)
    days = [NOW - 100 * DAY, NOW - 40 * DAY, NOW - 20 * DAY, NOW]
    database.add({row(day): Usage(1, 0, 5) for day in days}, NOW - 3600, 400)
    assert len(usage_database.read_rows(path, ALWAYS)) == 4
    database.add({row(): Usage(1)}, NOW, 3)
    hours = [counted.hour for counted, _usage in usage_database.read_rows(path, ALWAYS)]
    assert hours == [int(NOW - 20 * DAY), int(NOW)]
    assert database.month_tokens(NOW) == {"ann": 10}
    database.close()


def test_a_failed_batch_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"
    database = UsageDatabase(path)
    with pytest.raises(sqlite3.Error):
        database.add({row(): Usage(1), row(key=None): Usage(1)}, NOW, 400)  # type: ignore[arg-type]
    assert not usage_database.read_rows(path, ALWAYS)
    assert database.add({row(): Usage(1, 0, 1)}, NOW, 400) == {"ann": 1}
    database.close()


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"
    UsageDatabase(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InvalidInputError, match="schema 7"):
        UsageDatabase(path)
    with pytest.raises(InvalidInputError, match="schema 7"):
        usage_database.read_rows(path, ALWAYS)


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"
    with pytest.raises(NotFoundError, match="no such file"):
        usage_database.read_rows(path, ALWAYS)
    path.write_text("something else that is longer than a header of a hundred bytes" * 2, encoding="utf-8")
    with pytest.raises(NotFoundError, match="not a database"):
        usage_database.read_rows(path, ALWAYS)


def test_herdctl_shows_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "usage.sqlite3"
    database = UsageDatabase(path)
    database.add({row(): Usage(3, 1, 2, 3, 4), row(key="bob"): Usage(1, 0, 1)}, NOW, 400)
    words = ["usage", "--database", str(path), "--since", "2026-11-30", "--until", "2026-12-01"]
    assert herdctl.main([*words, "--by", "key", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(each["key"], each["tokens"]) for each in data["rows"]] == [("ann", 9), ("bob", 1)]
    assert herdctl.main([*words, "--by", "day"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["2026-11-30", "4", "1", "3", "3", "4", "10"]
    assert herdctl.main([*words[:-1], "soon"]) == herdctl.EXIT_CONFIG
    assert "for --until" in capsys.readouterr().err
    database.close()
