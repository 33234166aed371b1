# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan equals the allocation of the real engine, for every small model and release.

Unit tests compare the planner with the results of `make accuracy`. This test verifies that these are still valid.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of

from .accuracy import judge
from .builds import binaries
from .generated.model import Model, header_of
from .generated.planning import RELEASES
from .measure import Case, measure
from .models import models


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_plan_equals_allocation_of_engine(model: Model, release: str, tmp_path: Path) -> None:
    # A context that `make accuracy` does not measure, and unequal shares.
    case = replace(Case(model.name, release, 6000, "q8_0"), split=(2, 3))
    found = measure(case, model.write(tmp_path / "model.gguf"), binaries(release))
    for each in judge(metadata_of(header_of(model)), case, found.to_data()["devices"]):
        assert each.is_exact and not each.is_under, each
