"""The site of this scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.playbooks import Operator
from tests.scenarios.services import MODELS, Services


@pytest.fixture(scope="session")
def site() -> Services:
    return Services()


@pytest.fixture(autouse=True)
def ready(site: Services) -> None:
    """Begin each test when both tiers are ready."""
    for tier in MODELS:
        site.wait(tier, "ready", 120)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path, "inventory/lab", str(Path(__file__).parents[1] / "inventory"))
