# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slurm cluster of this scenario."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.slurm import Slurm


@pytest.fixture(scope="session")
def slurm() -> Slurm:
    return Slurm()


@pytest.fixture(scope="module")
def serving(slurm: Slurm) -> Iterator[Slurm]:
    """Provide both tiers ready. Without a manager their jobs are submitted by hand, and cancelled afterwards."""
    slurm.keep_both()
    yield slurm
    slurm.leave()
