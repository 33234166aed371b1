# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every page of docs/operations/slurm: its fault is made, and then somebody does what the page says, word for word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.lab.recovery import Service
from tests.lab.runbook import Page, read
from tests.lab.runbook_run import ROOT, Operator, follow
from tests.lab.slurm import CONTROLLER, MANAGER, Slurm, until

FOLDER = ROOT / "docs" / "operations" / "slurm"
PAGES = [read(path) for path in sorted(FOLDER.glob("*.md")) if path.stem != "README"]
MODEL = "/scratch/ai/models/lab-llama.gguf"


@contextmanager
def drained_node(slurm: Slurm) -> Iterator[None]:
    slurm.sure(CONTROLLER, "scontrol update nodename=vasp-02 state=drain reason='somebody looks at it'")
    slurm.submit("fast")
    try:
        yield
    finally:
        slurm.on(CONTROLLER, "scontrol update nodename=vasp-02 state=resume")


@contextmanager
def missing_model(slurm: Slurm) -> Iterator[None]:
    kept = "/scratch/ai/kept"
    slurm.sure("vasp-01", f"mv {MODEL} {kept}")
    try:
        slurm.submit("reasoning")
        until("the job to give up", lambda: not slurm.jobs(), 180)
        yield
    finally:
        # A page that did not help must not be the fault of the tests that follow.
        slurm.sure("vasp-01", f"[ -e {MODEL} ] || mv {kept} {MODEL}; rm -f {kept}")


@contextmanager
def nothing(slurm: Slurm) -> Iterator[None]:
    """Memory limits are not enforced on a lab's hosts: the commands run on a cluster on which all is well."""
    yield


FAULTS: dict[str, Callable[[Slurm], AbstractContextManager[None]]] = {
    "job-does-not-start": drained_node,
    "job-dies": missing_model,
    "job-out-of-memory": nothing,
}


def test_every_page_has_its_fault() -> None:
    assert {page.name for page in PAGES} == set(FAULTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_mends_its_fault(slurm: Slurm, page: Page) -> None:
    has_manager = slurm.on(CONTROLLER, f"systemctl stop {MANAGER}").rc == 0
    slurm.cancel_all()
    operator = Operator(Service(slurm.lab, []))
    operator.inventory = Path(ROOT / "inventory" / "lab_slurm")
    try:
        with FAULTS[page.name](slurm):
            follow(operator, page, {})
    finally:
        slurm.cancel_all()
        if has_manager:
            slurm.sure(CONTROLLER, f"systemctl start {MANAGER}")
