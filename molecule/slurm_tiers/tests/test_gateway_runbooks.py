# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every page of docs/operations/gateway: create its fault, then follow the page word for word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.scenarios.recovery import Service
from tests.scenarios.runbook import Page, read
from tests.scenarios.runbook_run import ROOT, Operator, follow
from tests.scenarios.slurm import CONTROLLER, TESTER, Slurm

FOLDER = ROOT / "docs" / "operations" / "gateway"
PAGES = [read(path) for path in sorted(FOLDER.glob("*.md")) if path.stem != "README"]


@contextmanager
def stopped_tier(slurm: Slurm) -> Iterator[None]:
    slurm.sure(CONTROLLER, "herdctl tiers stop fast --reason 'maintenance'")
    try:
        yield
    finally:
        slurm.on(CONTROLLER, "herdctl tiers start fast")


@contextmanager
def stopped_gateway(slurm: Slurm) -> Iterator[None]:
    slurm.sure(CONTROLLER, "systemctl stop herd-gateway.socket 'herd-gateway@*'")
    yield


@contextmanager
def stopped_nginx(slurm: Slurm) -> Iterator[None]:
    slurm.sure(CONTROLLER, "systemctl stop nginx")
    yield


@contextmanager
def revoked_key(slurm: Slurm) -> Iterator[None]:
    slurm.sure(CONTROLLER, "herdctl key revoke tester")
    try:
        yield
    finally:
        slurm.sure(CONTROLLER, "herdctl key restore tester")


@contextmanager
def no_fault(slurm: Slurm) -> Iterator[None]:
    """Create no fault: the page's own commands exceed the limit."""
    yield


@contextmanager
def completed_requests(slurm: Slurm) -> Iterator[None]:
    for _each in range(3):
        assert slurm.chat_at("fast", stream=True).status == 200
    yield


FAULTS: dict[str, Callable[[Slurm], AbstractContextManager[None]]] = {
    "gateway-unavailable": stopped_gateway,
    "key-refused": revoked_key,
    "no-answer": stopped_nginx,
    "slow-first-token": completed_requests,
    "tier-unavailable": stopped_tier,
    "too-many-requests": no_fault,
}


def test_every_page_has_a_fault() -> None:
    assert {page.name for page in PAGES} == set(FAULTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_repairs_its_fault(serving: Slurm, page: Page) -> None:
    operator = Operator(Service(serving.lab, []))
    operator.inventory = Path(ROOT / "inventory" / "lab_slurm")
    # The pages expect the operator's own key in this file.
    serving.sure(CONTROLLER, f"umask 077; printf %s {TESTER} > key")
    try:
        with FAULTS[page.name](serving):
            follow(operator, page, {})
    finally:
        # If an instance already serves, the socket starts no other one.
        serving.sure(CONTROLLER, "rm -f key; systemctl start herd-gateway.socket nginx")
