"""The service as these tests use it, and the table that they end with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.recovery import Row, Service

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service under a light load, from before the first test until after the last one."""
    found = Service(os.environ["HERD_LAB"], request.config.stash.setdefault(ROWS, []))
    found.begin_load()
    try:
        yield found
    finally:
        found.end_load()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("what it took, in seconds")
    heading = ("what happens", "noticed", "serves again", "since its cause is gone", "requests failed", "model loads")
    lines = [heading, *(row.cells() for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heading))]
    for line in lines:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
