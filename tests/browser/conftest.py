# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway without engines, and a browser that shows its status page."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Browser, browser
from tests.gateway.harness import FAST_MODEL, Gateway, gateway, wait_for

PREEMPTED = "preempted by VASP job 88, pending: Priority"


@pytest.fixture(scope="module")
def made() -> Iterator[Gateway]:
    root = Path(tempfile.mkdtemp(prefix="herd-page-", dir="/tmp"))
    try:
        with gateway(root) as found:
            yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def page(chromium: Browser, made: Gateway) -> Iterator[Browser]:
    """Give the test a desktop browser; afterwards, assert no error and no request to another server."""
    made.ready("fast", 9, [FAST_MODEL])
    made.unavailable("reasoning", "preempted", PREEMPTED, 30, expected=time.time() + 1500)
    settled(made, "fast", "ready")
    settled(made, "reasoning", "preempted")
    chromium.complaints.clear()
    chromium.asked.clear()
    chromium.look()
    yield chromium
    own = made.url(path="")
    # The page's icon is a data URL, which causes no request to a server.
    assert [url for url in chromium.asked if not url.startswith((own, "data:,"))] == []
    assert chromium.complaints == []


def url(made: Gateway, path: str = "/status") -> str:
    return made.url(path=path)


def facts(made: Gateway) -> dict[str, Any]:
    with urllib.request.urlopen(url(made, "/status.json"), timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def settled(made: Gateway, tier: str, state: str) -> None:
    def is_so() -> bool:
        return any(row["name"] == tier and row["state"] == state for row in facts(made)["tiers"])

    wait_for(is_so, f"the gateway knows that {tier} is {state}")
