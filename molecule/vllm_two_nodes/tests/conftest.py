# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slurm cluster of this scenario, and its user's model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenarios.slurm import CONTROLLER
from tests.scenarios.vllm import NODES, VllmLab


@pytest.fixture(scope="session")
def lab() -> VllmLab:
    return VllmLab()


@pytest.fixture
def ready(lab: VllmLab) -> Iterator[dict[str, Any]]:
    """Provide the state of the ready job, and restore the nodes afterwards."""
    lab.launch()
    yield lab.wait_job()
    for node in NODES:
        lab.on(node, "ip link set ib0 up")
        lab.on(CONTROLLER, f"scontrol update nodename={node} state=resume")
