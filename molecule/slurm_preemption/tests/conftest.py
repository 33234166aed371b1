# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slurm cluster of this scenario, with its tier manager."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.kept_tiers import Kept
from tests.scenarios.slurm import CONTROLLER, MANAGER, NODES, TIERS


@pytest.fixture(scope="session")
def cluster() -> Kept:
    return Kept()


@pytest.fixture
def ready(cluster: Kept) -> Iterator[Kept]:
    """Provide both tiers ready with an empty queue, and restore them afterwards."""
    cluster.sure(CONTROLLER, f"scancel --user=vasp; systemctl start {MANAGER}; herdctl tiers start {' '.join(TIERS)}")
    for tier in TIERS:
        cluster.wait_ready_again(tier, 300)
    yield cluster
    cluster.sure(CONTROLLER, f"scancel --user=vasp; herdctl tiers start {' '.join(TIERS)}")
    for node in NODES:
        cluster.on(CONTROLLER, f"scontrol update nodename={node} state=resume")
