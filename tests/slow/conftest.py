# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give each test of a cluster a lab, remove the lab however the test ends, and show the figures of tests at the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.slow.cluster import CLONE, Cluster

TIMES = pytest.StashKey[list[str]]()


class Notes:
    """Lines that are shown at once and again below the results."""

    def __init__(self, config: pytest.Config, capture: pytest.CaptureFixture[str]) -> None:
        self._lines = config.stash.setdefault(TIMES, [])
        self._capture = capture

    def add(self, line: str) -> None:
        self._lines.append(line)
        with self._capture.disabled():
            print(f"\n  {line}", flush=True)


def pytest_configure() -> None:
    """Remove the lab after SIGTERM as after an interrupt."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture
def notes(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Notes:
    return Notes(request.config, capsys)


@pytest.fixture(scope="session")
def lab_ready() -> None:
    """Prepare sources and the model, as for every lab; a second call takes a second."""
    subprocess.run([str(CLONE / "tools/lab-ready")], cwd=CLONE, check=True)


@pytest.fixture
def cluster(lab_ready: None) -> Iterator[Cluster]:
    """Start bare hosts."""
    made = Cluster(f"slow{os.getpid()}")
    try:
        made.up()
        yield made
    finally:
        made.down()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(TIMES, [])
    if lines:
        terminalreporter.section("times")
        for line in lines:
            terminalreporter.write_line(line)
