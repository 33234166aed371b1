"""The pages of docs/operations/router: their fault is made, and somebody does what the page says, word for word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.lab.recovery import Service
from tests.lab.runbook import read
from tests.lab.runbook_run import Operator, follow

On = Callable[[str], Host]
ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "operations" / "router"
NODE = "vllm-node2"


@pytest.fixture
def operator() -> Iterator[Operator]:
    found = Operator(Service(os.environ["HERD_LAB"], []))
    found.inventory = Path(f"{ROOT / 'inventory/lab'},{ROOT / 'molecule/router/inventory'}")
    yield found


def test_a_model_that_is_not_found(on: On, operator: Operator) -> None:
    def whole() -> None:
        on(NODE).check_output(
            "ln -f /opt/models/lab-llama.gguf /opt/models/.cut && mv /opt/models/.cut /opt/models/cut.gguf"
        )

    # It stays: the router offers it now.
    follow(operator, read(PAGES / "model-not-found.md"), {}, [whole])


def test_a_cold_start(on: On, operator: Operator) -> None:
    for name in ("lab-llama", "second"):
        on(NODE).check_output(f"herdctl models --load {name}")
    follow(operator, read(PAGES / "cold-start-slow.md"), {})


def test_a_router_that_gives_no_answer(on: On, operator: Operator) -> None:
    """A model's process hangs, and so does nobody who would see it."""
    on(NODE).check_output("herdctl models --load lab-llama")
    on(NODE).check_output("systemctl stop herd-agent")
    on(NODE).check_output("pgrep -u llama -f 'alias (second|third|lab-llama)' | xargs kill -STOP")
    follow(operator, read(PAGES / "router-hangs.md"), {})


def test_every_page_is_tried() -> None:
    pages = {"README", "model-not-found", "cold-start-slow", "router-hangs"}
    assert {path.stem for path in PAGES.glob("*.md")} == pages
