# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugin of pytest: a lab's service under load, the table of its losses, and the page of the last record."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from .recovery import Row, Service
from .recovery_page import CHAOS_COLUMNS, write_facts
from .testing import HEAD

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Give the service under a light load, from before the first test until after the last one."""
    found = Service(os.environ["HERD_LAB"], request.config.stash.setdefault(ROWS, []))
    try:
        found.begin_load()
        yield found
    finally:
        found.end_load()


@pytest.fixture(autouse=True)
def calm(service: Service) -> None:
    """Clear the agents' memory of earlier losses before each test: they wait longer between repeated losses."""
    service.on(HEAD, "systemctl", "restart", "herd-agent")
    service.wait_until_well(60)
    service.wait_for_answer(time.time(), 60)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("recovery times in seconds")
    lines = [CHAOS_COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(CHAOS_COLUMNS))]
    for line in lines:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """If a record is requested, keep the measurements of a run in which every test passed."""
    rows = session.config.stash.get(ROWS, [])
    if os.environ.get("HERD_RECORD") and rows and exitstatus == 0:
        write_facts("chaos", [asdict(row) for row in rows])
