# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers of the scenarios' tests: hosts of the scenario's lab, over the lab's own ssh configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

WORKERS = ("vllm-node2", "vllm-node3")
HEAD = "vllm-node1"
NODES = (HEAD, *WORKERS)
FABRIC = {"vllm-node1": "10.100.0.31", "vllm-node2": "10.100.0.32", "vllm-node3": "10.100.0.33"}
ETHERNET = {"vllm-node1": "10.0.0.31", "vllm-node2": "10.0.0.32", "vllm-node3": "10.0.0.33"}


@pytest.fixture(scope="session")
def on() -> Callable[[str], Host]:
    """Return a host of the lab by its name."""
    configuration = Path("/run/herd-lab") / os.environ["HERD_LAB"] / "ssh_config"
    known: dict[str, Host] = {}

    def get(name: str) -> Host:
        if name not in known:
            known[name] = testinfra.get_host(f"ssh://{name}", ssh_config=str(configuration))
        return known[name]

    return get


def wait_for(what: str, look: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(0.5)
