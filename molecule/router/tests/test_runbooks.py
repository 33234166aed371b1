"""Every page of docs/operations/router: create its fault, then follow the page word for word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.scenarios.recovery import Service
from tests.scenarios.runbook import read
from tests.scenarios.runbook_run import Operator, follow

On = Callable[[str], Host]
ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "operations" / "router"
NODE = "vllm-node2"


@pytest.fixture
def operator() -> Iterator[Operator]:
    found = Operator(Service(os.environ["HERD_LAB"], []))
    found.inventory = Path(f"{ROOT / 'inventory/lab'},{ROOT / 'molecule/router/inventory'}")
    yield found


def test_model_not_found_page_repairs_its_fault(on: On, operator: Operator) -> None:
    def complete_model() -> None:
        on(NODE).check_output(
            "ln -f /opt/models/lab-llama.gguf /opt/models/.cut && mv /opt/models/.cut /opt/models/cut.gguf"
        )

    # The model stays, because the router offers it now.
    follow(operator, read(PAGES / "model-not-found.md"), {}, [complete_model])


def test_cold_start_page_runs_as_written(on: On, operator: Operator) -> None:
    for name in ("lab-llama", "second"):
        on(NODE).check_output(f"herdctl models --load {name}")
    follow(operator, read(PAGES / "cold-start-slow.md"), {})


def test_router_hangs_page_repairs_its_fault(on: On, operator: Operator) -> None:
    """A model's process hangs while the agent is stopped."""
    on(NODE).check_output("herdctl models --load lab-llama")
    on(NODE).check_output("systemctl stop herd-agent")
    on(NODE).check_output("pgrep -u llama -f 'alias (second|third|lab-llama)' | xargs kill -STOP")
    follow(operator, read(PAGES / "router-hangs.md"), {})


def test_every_page_has_a_test() -> None:
    pages = {"README", "model-not-found", "cold-start-slow", "router-hangs"}
    assert {path.stem for path in PAGES.glob("*.md")} == pages
