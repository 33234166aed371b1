# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model metadata read from files that the engine's tests generate."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models import metadata_reader
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file
from tests.engine.generated.model import Model, header_of
from tests.engine.models import models

MODELS = {model.name: model for model in models()}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_metadata_read_from_file_equals_metadata_of_its_header(model: Model, tmp_path: Path) -> None:
    path = model.write(tmp_path / "m.gguf")
    found = metadata_reader.metadata_of_files(str(path.parent), path.name, lambda file: open_file(Path(file)))
    assert found == metadata_of(header_of(model))
