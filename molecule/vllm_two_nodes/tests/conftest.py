# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slurm cluster of this scenario, its user's model, and the record of its losses."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from tests.scenarios import recovery_page, vllm_losses
from tests.scenarios.slurm import CONTROLLER
from tests.scenarios.vllm import VllmLab

ROWS, IS_FAILED = pytest.StashKey[list[vllm_losses.LossRow]](), pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def lab() -> VllmLab:
    return VllmLab()


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest) -> list[vllm_losses.LossRow]:
    """Provide the list of measured losses, which the end of the run shows and records."""
    return request.config.stash.setdefault(ROWS, [])


@pytest.fixture
def ready(lab: VllmLab) -> Iterator[dict[str, Any]]:
    """Provide the state of the ready job, and restore the nodes afterwards."""
    lab.launch()
    job = lab.wait_job()
    yield job
    vllm_losses.restore(lab)


@pytest.fixture
def empty(lab: VllmLab) -> Iterator[None]:
    """Cancel the user's jobs, and restore the nodes afterwards."""
    vllm_losses.empty_queue(lab)
    yield
    vllm_losses.restore(lab)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "rows" in getattr(item, "fixturenames", ()):
        item.config.stash[IS_FAILED] = True
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured = config.stash.get(ROWS, [])
    if measured:
        terminalreporter.section("losses of ranks, in seconds")
        for row in measured:
            terminalreporter.write_line("  ".join(row.cells()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """If a record is requested, keep the measurements of a whole run in which no test of a loss failed."""
    measured, is_failed = session.config.stash.get(ROWS, []), session.config.stash.get(IS_FAILED, False)
    if os.environ.get("HERD_RECORD") and measured and exitstatus in (0, 1) and not is_failed:
        lab = VllmLab()
        pause = lab.sure(CONTROLLER, "scontrol show config | sed -n 's/.*cred_expire=//p'").strip()
        found = {"pause_s": int(pause), "version": vllm_losses.VERSION, "rows": [asdict(row) for row in measured]}
        recovery_page.write_facts("vllm", found)
