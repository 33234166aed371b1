# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both releases, each with a small model.

HERD_ENGINES names a folder with the builds, RELEASE/bin each; by default engines in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.flag_runs import NEW, OLD, Build, cache
from tests.models import lab_model

# A head size of 32, which every quantised type of cache divides.
SHAPE = lab_model.Shape("guard-llama", 2, 128, 256, 4, 2, 4096, "herd.inference guard model 1", 1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (part,) = lab_model.cached(SHAPE).glob("*.part1of1")
    path = tmp_path_factory.mktemp("model") / "guard.gguf"
    path.symlink_to(part)
    return path


@pytest.fixture(params=[OLD, NEW])
def build(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> Iterator[Build]:
    binaries = Path(os.environ.get("HERD_ENGINES") or cache() / "engines") / request.param / "bin"
    assert (binaries / "llama-server").exists(), (
        f"no build of {request.param} in {binaries}: tests/engine/builds.py makes it"
    )
    with Build(request.param, binaries, model, tmp_path).session() as running:
        yield running
