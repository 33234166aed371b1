# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner against the real engine: one start of head and workers for every small model and release.

The unit tests hold it to what `make accuracy` wrote down; this says whether that is still true.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of

from .accuracy import RELEASES, judge
from .builds import binaries
from .generated.model import Model, header_of
from .measure import Case, measure
from .models import models


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_the_plan_is_what_the_engine_does(model: Model, release: str, tmp_path: Path) -> None:
    # A context that is none of those that were measured before, and unequal shares.
    case = replace(Case(model.name, release, 6000, "q8_0"), split=(2, 3))
    found = measure(case, model.write(tmp_path / "model.gguf"), binaries(release))
    for each in judge(metadata_of(header_of(model)), case, found.to_data()["devices"]):
        assert each.is_exact and not each.is_under, each
