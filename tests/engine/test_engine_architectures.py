# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed table of architectures is the one that the tool makes from the sources of both releases."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.models.engine_architectures import ARCHITECTURES
from tests.engine.builds import unpack
from tests.engine.flag_runs import cache
from tests.lab.sources import SOURCES, ensure
from tools import engine_architectures


def test_table_of_architectures_is_made_from_the_sources(tmp_path: Path) -> None:
    known = {source.release: source for source in SOURCES}
    folders = {}
    for release in ARCHITECTURES:
        (tmp_path / release).mkdir()
        folders[release] = unpack(ensure(known[release], cache() / "sources"), tmp_path / release)
    made = engine_architectures.written(folders)
    command = f"python -m tools.engine_architectures {' '.join(f'{name}=FOLDER' for name in folders)}"
    assert engine_architectures.TARGET.read_text() == made, f"write the table anew: {command}"
