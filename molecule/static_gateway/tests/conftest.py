"""The site of this scenario."""

from __future__ import annotations

import pytest

from tests.scenarios.services import MODELS, Services


@pytest.fixture(scope="session")
def site() -> Services:
    return Services()


@pytest.fixture(autouse=True)
def ready(site: Services) -> None:
    """Begin each test when both tiers are ready."""
    for tier in MODELS:
        site.wait(tier, "ready", 120)
