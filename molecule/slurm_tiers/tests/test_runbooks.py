# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every page of docs/operations/slurm: create its fault, then follow the page word for word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenarios.recovery import Service
from tests.scenarios.runbook import Page, read
from tests.scenarios.runbook_run import ROOT, Operator, follow
from tests.scenarios.slurm import CONTROLLER, MANAGER, TIERS, Slurm, until

FOLDER = ROOT / "docs" / "operations" / "slurm"
PAGES = [read(path) for path in sorted(FOLDER.glob("*.md")) if path.stem != "README"]
MODEL = "/scratch/ai/models/lab-llama.gguf"


@contextmanager
def drained_node(slurm: Slurm) -> Iterator[None]:
    slurm.sure(CONTROLLER, "scontrol update nodename=vasp-02 state=drain reason='maintenance'")
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
        # If the page fails, later tests still need the model.
        slurm.sure("vasp-01", f"[ -e {MODEL} ] || mv {kept} {MODEL}; rm -f {kept}")


@contextmanager
def lost_worker(slurm: Slurm) -> Iterator[None]:
    """Kill a worker during a response of its head."""
    job = slurm.submit("reasoning")
    entry = slurm.wait_ready("reasoning")
    with slurm.streaming(entry, 400) as stream:
        slurm.sure("vasp-03", "pkill -KILL -u llama -f '[/]ggml-rpc-server'")
        stream.answer()
    until("the loss in the log", lambda: "lost: " in slurm.log(job), 60)
    yield


@contextmanager
def stopped_nginx(slurm: Slurm) -> Iterator[None]:
    """Stop nginx. The tier manager is stopped already."""
    slurm.sure(CONTROLLER, "systemctl stop nginx")
    try:
        yield
    finally:
        slurm.sure(CONTROLLER, "systemctl start nginx")


@contextmanager
def tiers_under_load(slurm: Slurm) -> Iterator[None]:
    for tier in TIERS:
        slurm.submit(tier)
    for tier in TIERS:
        slurm.wait_ready(tier)
        until(f"the gateway to know of {tier}", lambda at=tier: slurm.chat_at(at, stream=True).status == 200, 30)
    yield


@contextmanager
def unlisted_model(slurm: Slurm) -> Iterator[None]:
    """Add a model that the inventory lacks, after the start of the job."""
    slurm.submit("fast")
    slurm.wait_ready("fast")
    slurm.sure("vasp-02", f"ln -f {MODEL} /scratch/ai/models/second.gguf")
    try:
        yield
    finally:
        slurm.sure("vasp-02", "rm -f /scratch/ai/models/second.gguf")


@contextmanager
def no_fault(slurm: Slurm) -> Iterator[None]:
    """Create no fault. A lab enforces no memory limits, so the commands run on a healthy cluster."""
    yield


FAULTS: dict[str, Callable[[Slurm], AbstractContextManager[None]]] = {
    "answers-slow": tiers_under_load,
    "connection-refused": stopped_nginx,
    "job-does-not-start": drained_node,
    "job-dies": missing_model,
    "job-gpu-memory": no_fault,
    "job-out-of-memory": no_fault,
    "model-not-found": unlisted_model,
    "worker-lost": lost_worker,
}


def variables(page: Page) -> dict[str, Any]:
    """Return the inventory's variables during the fault."""
    if page.name != "job-gpu-memory":
        return {}
    path = ROOT / "inventory" / "lab_slurm" / "group_vars" / "all" / "tiers.yml"
    tiers = yaml.safe_load(path.read_text(encoding="utf-8"))["herd_tiers"]
    tiers[1]["settings"]["context"] = 4194304
    return {"herd_tiers": tiers}


def test_every_page_has_a_fault() -> None:
    assert {page.name for page in PAGES} == set(FAULTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_repairs_its_fault(slurm: Slurm, page: Page) -> None:
    has_manager = slurm.on(CONTROLLER, f"systemctl stop {MANAGER}").rc == 0
    slurm.cancel_all()
    operator = Operator(Service(slurm.lab, []))
    operator.inventory = Path(ROOT / "inventory" / "lab_slurm")
    try:
        with FAULTS[page.name](slurm):
            follow(operator, page, variables(page))
    finally:
        # Some pages start the manager.
        slurm.sure(CONTROLLER, f"systemctl stop {MANAGER}")
        slurm.cancel_all()
        if has_manager:
            slurm.sure(CONTROLLER, f"systemctl start {MANAGER}")
