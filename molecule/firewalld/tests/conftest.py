"""Hosts of the scenario's lab for testinfra, over the lab's own ssh configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

LAB = os.environ.get("HERD_LAB", "firewalld")
WORKERS = ("vllm-node2", "vllm-node3")
HEAD = "vllm-node1"
NODES = (HEAD, *WORKERS)
FABRIC = {"vllm-node1": "10.100.0.31", "vllm-node2": "10.100.0.32", "vllm-node3": "10.100.0.33"}
ETHERNET = {"vllm-node1": "10.0.0.31", "vllm-node2": "10.0.0.32", "vllm-node3": "10.0.0.33"}


@pytest.fixture(scope="session")
def on() -> Callable[[str], Host]:
    """A host of the lab by its name."""
    configuration = Path("/run/herd-lab") / LAB / "ssh_config"
    known: dict[str, Host] = {}

    def get(name: str) -> Host:
        if name not in known:
            known[name] = testinfra.get_host(f"ssh://{name}", ssh_config=str(configuration))
        return known[name]

    return get
